#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "speechpress/extractor.h"

namespace speechpress {

enum class FrameFormat { kFloat32, kCsv };

/// Writes frames as they come, so that whoever reads them need not wait.
class FrameWriter {
 public:
  /// Empty path: stdout. Throws Error when the file cannot be opened.
  FrameWriter(const std::string& path, FrameFormat format, int64_t width);

  /// Throws Error, when the disk is full for example.
  void write(const Frames& frames);

 private:
  void write_csv_header();
  void write_csv(const Frames& frames);

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string path_;
  FrameFormat format_;
  int64_t width_;
  int64_t next_frame_ = 0;
};

}  // namespace speechpress
