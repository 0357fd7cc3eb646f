#include "log.h"

#include <executorch/runtime/platform/platform.h>

#include <cstdio>
#include <cstdlib>

namespace speechpress {
namespace {

constexpr size_t kMostBytes = 400;

thread_local std::string text;

void take(et_timestamp_t, et_pal_log_level_t level, const char* file, const char*, size_t line,
          const char* message, size_t length) {
  if (std::getenv("SPEECHPRESS_DEBUG") != nullptr) {
    std::fprintf(stderr, "ExecuTorch, %s:%zu: %.*s\n", file, line, static_cast<int>(length), message);
  }
  if (level != kError && level != kFatal) return;
  if (text.size() < kMostBytes) text += (text.empty() ? "" : "; ") + std::string(message, length);
}

}  // namespace

void keep_log() {
  // Not std::call_once, which asks for glibc 2.34.
  [[maybe_unused]] static const bool once =
      executorch::runtime::register_pal(executorch::runtime::PalImpl::create(take, __FILE__));
}

void forget_log() {
  text.clear();
}

std::string logged() {
  return text;
}

}  // namespace speechpress
