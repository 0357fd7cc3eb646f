// ExecuTorch logs through this function, which a program may replace. Its own prints all that the
// runtime finds out about the processor; here only errors are worth a line.

#include <executorch/runtime/platform/platform.h>

#include <cstdio>

extern "C" void et_pal_emit_log_message(et_timestamp_t, et_pal_log_level_t level, const char* file,
                                        const char*, size_t line, const char* message, size_t) {
  if (level != kError && level != kFatal) return;
  std::fprintf(stderr, "ExecuTorch, %s:%zu: %s\n", file, line, message);
}
