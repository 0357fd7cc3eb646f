#pragma once

#include <iosfwd>
#include <string>

namespace speechpress::tests {

/// Read each file of a folder as what its name says (.wav, .json, .pte), and write a line on what
/// came of it. Whatever is in them, nothing but Error may be thrown.
void read_corpus(const std::string& folder, std::ostream& out);

}  // namespace speechpress::tests
