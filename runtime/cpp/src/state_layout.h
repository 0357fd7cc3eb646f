#pragma once

#include <executorch/runtime/executor/method_meta.h>

#include <cstdint>
#include <string>
#include <vector>

#include "program.h"
#include "speechpress/decoder.h"
#include "speechpress/engine.h"

namespace speechpress {

/// One tensor that a step takes.
struct TensorLayout {
  std::vector<int32_t> shape;
  executorch::aten::ScalarType type;
  size_t bytes;
};

/// The tensors of `step_C`: the chunk and then the state; what it gives between frames and state.
struct StepLayout {
  TensorLayout chunk;
  std::vector<TensorLayout> state;
  std::vector<TensorLayout> answers;
  size_t frames_bytes;
};

/// Throws Error when the method does not take and give what a step must.
StepLayout read_layout(const executorch::runtime::MethodMeta& meta, const ProgramFacts& facts,
                       const StreamSpec& spec);

/// Throws Error when the outputs of the heads are not those that bundle.json says.
void check_heads(const StepLayout& layout, const std::vector<HeadSpec>& heads, const StreamSpec& spec);

/// The rows of one output of a head, whose elements lie there.
Rows rows_of(const TensorLayout& layout, const void* elements);

State make_initial_state(const StepLayout& layout, const ProgramFacts& facts);

/// Set all elements to one number.
void fill(std::vector<std::byte>& tensor, const TensorLayout& layout, double value);

}  // namespace speechpress
