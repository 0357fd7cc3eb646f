// speechpress-tests [PROGRAM.pte AUDIO.f32]: without arguments, only what needs no program.
// speechpress-tests --vectors FOLDER: every case of tests/fixtures/answers through its decoder.
// speechpress-tests --corpus FOLDER: what comes of reading each file there, for tests to judge.

#include <exception>
#include <iostream>
#include <string>

#include "check.h"
#include "corpus.h"
#include "vectors.h"

int main(int count, char** words) {
  using namespace speechpress::tests;
  if (count == 3 && words[1] == std::string("--corpus")) {
    read_corpus(words[2], std::cout);
    return 0;
  }
  if (count == 3 && words[1] == std::string("--vectors")) {
    return play_vectors(words[2], std::cout) ? 0 : 1;
  }
  auto tests = tests_of_parts();
  for (const auto& test : tests_of_files()) tests.push_back(test);
  for (const auto& test : tests_of_answers()) tests.push_back(test);
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
