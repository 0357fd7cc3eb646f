#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "audio.h"

namespace speechpress {

/// The command was not written as it must be.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string program;
  std::string wav;  // empty: stdin
  SampleFormat format = SampleFormat::kFloat32;
  int64_t chunk_frames = 0;
  int threads = 0;
  int repeat = 1;
  std::string out;  // empty: stdout, or nowhere with json
  bool csv = false;
  bool events = false;
  std::string etdump;
  std::string times;  // empty: nowhere; "-": stdout
  bool pace = false;
  bool unchecked = false;
  bool json = false;
  bool help = false;
};

extern const char* const kUsage;

/// Throws UsageError.
Options parse_options(const std::vector<std::string>& words);

}  // namespace speechpress
