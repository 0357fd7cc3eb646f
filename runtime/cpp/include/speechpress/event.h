#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace speechpress {

/// One answer of one head; see docs/answers.md.
struct Event {
  std::string head;
  std::string kind;
  int64_t number = 0;  ///< within its head; a later event of the same number replaces a partial one
  std::string label;
  double start_s = 0;  ///< of the audio that it is about, in seconds since the stream began
  double end_s = 0;
  double score = 0;
  bool final = true;           ///< false: it can still change
  std::vector<double> vector;  ///< of a speaker head; empty elsewhere
};

/// One object on one line, with the keys and digits of Python's Event.to_dict.
std::string to_json(const Event& event);

}  // namespace speechpress
