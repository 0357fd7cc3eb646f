#pragma once

#include <stdexcept>

namespace speechpress {

/// Something that the user can mend; what() says what and how.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace speechpress
