#include "state_layout.h"

#include <cstring>

namespace speechpress {
namespace {

using executorch::aten::ScalarType;
using executorch::runtime::MethodMeta;
using executorch::runtime::Result;
using executorch::runtime::TensorInfo;

Error unexpected(const char* method, const std::string& what) {
  return Error(std::string("the program's ") + method + " is damaged: " + what);
}

TensorLayout layout_of(const MethodMeta& meta, Result<TensorInfo> info) {
  if (!info.ok()) throw unexpected(meta.name(), "it takes or gives something that is no tensor");
  const auto sizes = info->sizes();
  return {{sizes.begin(), sizes.end()}, info->scalar_type(), info->nbytes()};
}

bool same(const TensorLayout& one, const TensorLayout& other) {
  return one.shape == other.shape && one.type == other.type;
}

/// Write numbers as elements of type T, from the one that is numbered `first` on.
template <typename T>
void write_as(std::vector<std::byte>& tensor, const double* values, size_t count) {
  const size_t elements = tensor.size() / sizeof(T);
  for (size_t i = 0; i < elements; ++i) {
    const T value = static_cast<T>(count == 1 ? values[0] : values[i]);
    std::memcpy(tensor.data() + i * sizeof(T), &value, sizeof(T));
  }
}

size_t element_bytes(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
    case ScalarType::Int:
      return 4;
    case ScalarType::Long:
      return 8;
    case ScalarType::Half:
      return 2;
    default:
      throw Error("the program's state has a data type that this runtime does not know");
  }
}

/// Fill with the only value, or write as many as there are elements.
void write(std::vector<std::byte>& tensor, ScalarType type, const double* values, size_t count) {
  if (count != 1 && count != tensor.size() / element_bytes(type)) {
    throw Error("the program's state_sizes do not fit its state");
  }
  if (type == ScalarType::Float) return write_as<float>(tensor, values, count);
  if (type == ScalarType::Int) return write_as<int32_t>(tensor, values, count);
  if (type == ScalarType::Long) return write_as<int64_t>(tensor, values, count);
  write_as<executorch::aten::Half>(tensor, values, count);
}

}  // namespace

StepLayout read_layout(const MethodMeta& meta, const ProgramFacts& facts, const StreamSpec& spec) {
  const size_t states = facts.state_sizes.size();
  const auto answers = static_cast<size_t>(facts.head_outputs);
  if (meta.num_inputs() != 1 + states || meta.num_outputs() != 1 + answers + states) {
    throw unexpected(meta.name(), "it does not take and give as many tensors as state_sizes says");
  }
  StepLayout layout;
  layout.chunk = layout_of(meta, meta.input_tensor_meta(0));
  const TensorLayout chunk{{1, static_cast<int32_t>(spec.chunk_samples())}, ScalarType::Float, 0};
  if (!same(layout.chunk, chunk)) throw unexpected(meta.name(), "its chunk has another shape");
  for (size_t i = 1; i <= states; ++i) {
    layout.state.push_back(layout_of(meta, meta.input_tensor_meta(i)));
    if (!same(layout.state.back(), layout_of(meta, meta.output_tensor_meta(answers + i)))) {
      throw unexpected(meta.name(), "it gives another state than it takes");
    }
  }
  for (size_t i = 1; i <= answers; ++i) {
    layout.answers.push_back(layout_of(meta, meta.output_tensor_meta(i)));
  }
  const TensorLayout frames{
      {1, static_cast<int32_t>(spec.chunk_frames), static_cast<int32_t>(spec.width)},
      ScalarType::Float,
      0};
  const TensorLayout given = layout_of(meta, meta.output_tensor_meta(0));
  if (!same(given, frames)) throw unexpected(meta.name(), "its frames have another shape");
  layout.frames_bytes = given.bytes;
  return layout;
}

void check_heads(const StepLayout& layout, const std::vector<HeadSpec>& heads,
                 const StreamSpec& spec) {
  size_t place = 0;
  for (const HeadSpec& head : heads) {
    for (const int64_t width : head.widths) {
      const int64_t rows = head.by_chunk() ? 1 : spec.chunk_frames;
      const std::vector<int32_t> shape = {1, static_cast<int32_t>(rows), static_cast<int32_t>(width)};
      const bool fits = place < layout.answers.size() && layout.answers[place].shape == shape &&
                        (layout.answers[place].type == ScalarType::Float ||
                         layout.answers[place].type == ScalarType::Long);
      if (!fits || head.hop_samples != spec.hop_samples || head.sample_rate != spec.sample_rate) {
        throw Error("the program's outputs are not those that bundle.json says of the head " +
                    head.name + "; export the bundle again");
      }
      ++place;
    }
  }
  if (place != layout.answers.size()) {
    throw Error("the program has outputs of heads that bundle.json does not name; export it again");
  }
}

Rows rows_of(const TensorLayout& layout, const void* elements) {
  Rows rows{layout.shape[1], layout.shape[2], {}};
  const auto count = static_cast<size_t>(rows.count * rows.width);
  if (layout.type == ScalarType::Float) {
    const auto* values = static_cast<const float*>(elements);
    rows.values.assign(values, values + count);
    return rows;
  }
  const auto* values = static_cast<const int64_t*>(elements);
  for (size_t i = 0; i < count; ++i) rows.values.push_back(static_cast<double>(values[i]));
  return rows;
}

State make_initial_state(const StepLayout& layout, const ProgramFacts& facts) {
  State state;
  const double* values = facts.state_initial.data();
  for (size_t i = 0; i < layout.state.size(); ++i) {
    const auto count = static_cast<size_t>(facts.state_sizes[i]);
    state.tensors.emplace_back(layout.state[i].bytes);
    write(state.tensors.back(), layout.state[i].type, values, count);
    values += count;
  }
  return state;
}

void fill(std::vector<std::byte>& tensor, const TensorLayout& layout, double value) {
  write(tensor, layout.type, &value, 1);
}

}  // namespace speechpress
