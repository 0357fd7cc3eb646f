#pragma once

#include <executorch/extension/module/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "speechpress/stream_spec.h"

namespace speechpress {

using executorch::extension::Module;

/// What a program says of itself by its constant methods.
struct ProgramFacts {
  StreamSpec spec;  // without chunk_frames
  std::vector<int64_t> chunk_frames;
  std::vector<int64_t> state_sizes;
  std::vector<double> state_initial;
  int64_t end_index = -1;
  int64_t head_outputs = 0;  // tensors that a step gives between its frames and its state
};

/// Load the file into the module. Throws Error when it is no ExecuTorch program, or a damaged one.
void load_program(Module& module, const std::string& path);

/// Throws Error when the program is not one of speechpress, or one that only newer versions read.
ProgramFacts read_facts(Module& module, const std::string& path);

}  // namespace speechpress
