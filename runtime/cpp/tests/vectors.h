#pragma once

#include <iosfwd>
#include <string>

namespace speechpress::tests {

/// Play every case of every file there through its decoder, in one step each as it says and anew;
/// a line for each, "ok" or what differs. Whether all are as they must be.
bool play_vectors(const std::string& folder, std::ostream& out);

}  // namespace speechpress::tests
