#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "speechpress/decoder.h"
#include "speechpress/error.h"
#include "speechpress/stream_spec.h"

namespace speechpress {

/// What one stream carries from chunk to chunk: the program's state tensors, in its order.
struct State {
  std::vector<std::vector<std::byte>> tensors;
};

/// What the heads say of one chunk: by head, and by its outputs.
using Answers = std::vector<std::vector<Rows>>;

struct EngineOptions {
  int64_t chunk_frames = 0;  ///< 0: the program's first, which is what its target asks for
  int threads = 0;           ///< of ExecuTorch's pool; 0 leaves it as it is
  bool trace = false;        ///< record an ETDump, which grows with every chunk
  bool unchecked = false;    ///< take a program as it is, without the bundle.json beside it: no heads
};

/// A loaded program that runs one chunk. It keeps nothing between calls, so one engine serves any
/// number of streams, also from several threads, which then wait for each other.
class Engine {
 public:
  /// Throws Error: no such file, one that is not as bundle.json beside it says, no speechpress
  /// program, a newer schema, no such chunk size, more threads than there can be, or another number of threads
  /// while other engines use the pool, of which a process has but one.
  static std::shared_ptr<Engine> load(const std::string& path, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const StreamSpec& spec() const;
  int threads() const;

  /// The bundle's heads, in the order of their answers.
  const std::vector<HeadSpec>& heads() const;

  /// The state of a stream that has heard nothing.
  const State& initial_state() const;

  /// Tell a state after how many frames its stream ends.
  void set_end(State& state, int64_t frames) const;

  /// Run one chunk of spec().chunk_samples() and replace the state. `frames` has room for
  /// chunk_frames x width; `answers` gets what the heads say. Throws Error, and then leaves the state
  /// as it was.
  void step(const float* chunk, State& state, float* frames, Answers* answers = nullptr);

  /// Write what was traced, for ExecuTorch's Inspector. Throws Error when nothing was.
  void write_etdump(const std::string& path);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace speechpress
