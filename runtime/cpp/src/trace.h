#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include <memory>
#include <string>

namespace speechpress {

/// The recording of where time goes, if it is wanted and ExecuTorch was built with it.
class Trace {
 public:
  explicit Trace(bool wanted);
  ~Trace();

  /// Null when nothing is recorded.
  executorch::runtime::EventTracer* tracer();

  /// Throws Error when nothing was recorded, or the file cannot be written.
  void write(const std::string& path);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace speechpress
