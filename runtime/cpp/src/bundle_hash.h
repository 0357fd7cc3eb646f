#pragma once

#include <string>

namespace speechpress {

/// Hold a program against the hash in the bundle.json beside it: a single flipped bit can change
/// what it computes, or end the process. Throws Error when it differs, or there is no bundle.json.
void check_hash(const std::string& program);

}  // namespace speechpress
