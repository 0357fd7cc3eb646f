#include "speechpress/engine.h"

#include <executorch/extension/tensor/tensor.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "bundle_hash.h"
#include "program.h"
#include "state_layout.h"
#include "thread_pool.h"
#include "trace.h"

namespace speechpress {
namespace {

using executorch::extension::make_tensor_ptr;
using executorch::extension::TensorPtr;
using executorch::runtime::EValue;

using RuntimeError = executorch::runtime::Error;

std::string joined(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

int64_t choose_chunk(const ProgramFacts& facts, int64_t wanted, const std::string& path) {
  const auto& sizes = facts.chunk_frames;
  if (sizes.empty()) {
    throw Error(path + " does not stream: it has no chunks. Export a student that was distilled " +
                "with a streaming recipe");
  }
  if (wanted == 0) return sizes.front();
  if (std::find(sizes.begin(), sizes.end(), wanted) == sizes.end()) {
    throw Error(path + " has no chunks of " + std::to_string(wanted) + " frames; it has " +
                joined(sizes) + ". Others can be added when it is exported");
  }
  return wanted;
}

TensorPtr wrap(const TensorLayout& layout, const void* data) {
  return make_tensor_ptr(layout.shape, const_cast<void*>(data), layout.type);
}

/// Where the elements of an output lie. Throws Error when it is not as large as it must be.
const void* data_of(const EValue& output, size_t bytes) {
  if (!output.isTensor() || output.toTensor().nbytes() != bytes) {
    throw Error("the program gave a tensor of another size than it says");
  }
  return output.toTensor().const_data_ptr();
}

/// A tensor without elements has no memory, and memcpy takes no null pointer.
void copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace

struct Engine::Impl {
  Impl(const std::string& path, const EngineOptions& options);

  /// The outputs of the heads, which lie behind the frames.
  Answers answers_of(const std::vector<EValue>& outputs) const;

  ThreadPoolClaim pool;
  Trace trace;  // the module's method writes to it, so it must outlive the module
  Module module;
  std::mutex mutex;
  std::string method;
  StreamSpec spec;
  StepLayout layout;
  std::vector<HeadSpec> heads;
  size_t end_index;
  State initial;
  State next;
};

Engine::Impl::Impl(const std::string& path, const EngineOptions& options)
    : pool(options.threads), trace(options.trace), module(path, Module::LoadMode::Mmap) {
  if (!options.unchecked) heads = heads_of(check_hash(path), path);
  load_program(module, path);
  const ProgramFacts facts = read_facts(module, path);
  spec = facts.spec;
  spec.chunk_frames = choose_chunk(facts, options.chunk_frames, path);
  method = "step_" + std::to_string(spec.chunk_frames);
  const auto error = module.load_method(method, nullptr, trace.tracer());
  if (error != RuntimeError::Ok) {
    throw Error("cannot load " + method + " of " + path + " (" +
                executorch::runtime::to_string(error) +
                "): the file is damaged, or needs a backend or operator that is not linked in");
  }
  auto meta = module.method_meta(method);
  if (!meta.ok()) throw Error(path + " has no " + method);
  layout = read_layout(meta.get(), facts, spec);
  if (!options.unchecked) check_heads(layout, heads, spec);
  end_index = static_cast<size_t>(facts.end_index);
  initial = make_initial_state(layout, facts);
  next = initial;
}

Answers Engine::Impl::answers_of(const std::vector<EValue>& outputs) const {
  Answers answers;
  size_t place = 0;
  for (const HeadSpec& head : heads) {
    auto& rows = answers.emplace_back();
    for (size_t i = 0; i < head.widths.size(); ++i, ++place) {
      const TensorLayout& its = layout.answers[place];
      rows.push_back(rows_of(its, data_of(outputs.at(1 + place), its.bytes)));
    }
  }
  return answers;
}

std::shared_ptr<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
  return std::shared_ptr<Engine>(new Engine(std::make_unique<Impl>(path, options)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() = default;

const StreamSpec& Engine::spec() const {
  return impl_->spec;
}

int Engine::threads() const {
  return impl_->pool.threads();
}

const std::vector<HeadSpec>& Engine::heads() const {
  return impl_->heads;
}

const State& Engine::initial_state() const {
  return impl_->initial;
}

void Engine::set_end(State& state, int64_t frames) const {
  const size_t index = impl_->end_index;
  fill(state.tensors[index], impl_->layout.state[index], static_cast<double>(frames));
}

void Engine::step(const float* chunk, State& state, float* frames, Answers* answers) {
  Impl& self = *impl_;
  const std::lock_guard<std::mutex> lock(self.mutex);
  std::vector<TensorPtr> tensors = {wrap(self.layout.chunk, chunk)};
  for (size_t i = 0; i < self.layout.state.size(); ++i) {
    tensors.push_back(wrap(self.layout.state[i], state.tensors[i].data()));
  }
  const std::vector<EValue> inputs(tensors.begin(), tensors.end());
  auto outputs = self.module.execute(self.method, inputs);
  if (!outputs.ok()) {
    throw Error("cannot run " + self.method + " (" +
                executorch::runtime::to_string(outputs.error()) + ")");
  }
  // An output may be one of the inputs, that is the caller's own memory; so copy beside it first.
  for (size_t i = 0; i < self.next.tensors.size(); ++i) {
    auto& tensor = self.next.tensors[i];
    const EValue& output = outputs->at(1 + self.layout.answers.size() + i);
    copy(tensor.data(), data_of(output, tensor.size()), tensor.size());
  }
  if (answers != nullptr) *answers = self.answers_of(*outputs);
  const size_t bytes = self.layout.frames_bytes;
  copy(frames, data_of(outputs->at(0), bytes), bytes);
  std::swap(state, self.next);
}

void Engine::write_etdump(const std::string& path) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->trace.write(path);
}

}  // namespace speechpress
