#include "frame_writer.h"

#include <cerrno>
#include <cstring>

#include "speechpress/error.h"

namespace speechpress {
namespace {

int keep_open(std::FILE*) {
  return 0;
}

std::unique_ptr<std::FILE, int (*)(std::FILE*)> open(const std::string& path) {
  if (path.empty()) return {stdout, &keep_open};
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) throw Error("cannot write " + path + ": " + std::strerror(errno));
  return {file, &std::fclose};
}

}  // namespace

FrameWriter::FrameWriter(const std::string& path, FrameFormat format, int64_t width)
    : file_(open(path)), path_(path.empty() ? "stdout" : path), format_(format), width_(width) {
  if (format_ == FrameFormat::kCsv) write_csv_header();
}

void FrameWriter::write(const Frames& frames) {
  if (format_ == FrameFormat::kCsv) {
    write_csv(frames);
  } else if (!frames.values.empty()) {  // the data of no frames may be a null pointer
    std::fwrite(frames.values.data(), sizeof(float), frames.values.size(), file_.get());
  }
  if (std::fflush(file_.get()) != 0 || std::ferror(file_.get()) != 0) {
    throw Error("cannot write the frames to " + path_ + ": " + std::strerror(errno));
  }
}

void FrameWriter::write_csv_header() {
  std::fputs("frame,end_s", file_.get());
  for (int64_t i = 0; i < width_; ++i)
    std::fprintf(file_.get(), ",%lld", static_cast<long long>(i));
  std::fputc('\n', file_.get());
}

void FrameWriter::write_csv(const Frames& frames) {
  const float* value = frames.values.data();
  for (const double end_s : frames.end_s) {
    std::fprintf(file_.get(), "%lld,%.6f", static_cast<long long>(next_frame_++), end_s);
    for (int64_t i = 0; i < width_; ++i) std::fprintf(file_.get(), ",%.9g", *value++);
    std::fputc('\n', file_.get());
  }
}

}  // namespace speechpress
