#pragma once

#include <string>
#include <vector>

#include "speechpress/head_spec.h"

namespace speechpress {

/// Hold a program against the hash in the bundle.json beside it: a single flipped bit can change
/// what it computes, or end the process. The document. Throws Error when it differs, or there is no
/// bundle.json.
std::string check_hash(const std::string& program);

/// The heads in the document of a bundle. Throws Error when they are damaged.
std::vector<HeadSpec> heads_of(const std::string& document, const std::string& program);

}  // namespace speechpress
