#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "speechpress/error.h"

namespace speechpress::tests {

struct Test {
  const char* name;
  std::function<void()> run;
};

/// Those that need nothing but themselves.
std::vector<Test> tests_of_parts();

/// Those that write to the folder for temporary files.
std::vector<Test> tests_of_files();

/// Of heads: what bundle.json may say of them, and what their outputs may be.
std::vector<Test> tests_of_answers();

/// Those that run a program, on float32 samples.
std::vector<Test> tests_of_streams(const std::string& program, const std::string& audio);

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      throw std::runtime_error(std::string(__FILE__) + ":" + std::to_string(__LINE__) + \
                               ": " #condition);                                        \
    }                                                                                   \
  } while (false)

/// That `call` throws, and that the message holds `part`.
template <typename Exception = Error>
void check_throws(const std::function<void()>& call, const std::string& part) {
  try {
    call();
  } catch (const Exception& error) {
    if (std::string(error.what()).find(part) != std::string::npos) return;
    throw std::runtime_error("'" + std::string(error.what()) + "' lacks '" + part + "'");
  }
  throw std::runtime_error("nothing was thrown that says '" + part + "'");
}

}  // namespace speechpress::tests
