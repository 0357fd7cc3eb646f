// speechpress-tests [PROGRAM.pte AUDIO.f32]: without arguments, only what needs no program.

#include <exception>
#include <iostream>

#include "check.h"

int main(int count, char** words) {
  using namespace speechpress::tests;
  auto tests = tests_of_parts();
  if (count == 3) {
    for (const auto& test : tests_of_streams(words[1], words[2])) tests.push_back(test);
  }
  int failed = 0;
  for (const auto& test : tests) {
    try {
      test.run();
      std::cout << "ok      " << test.name << "\n";
    } catch (const std::exception& error) {
      std::cout << "FAILED  " << test.name << ": " << error.what() << "\n";
      ++failed;
    }
  }
  return failed == 0 ? 0 : 1;
}
