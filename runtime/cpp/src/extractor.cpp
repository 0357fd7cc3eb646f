#include "speechpress/extractor.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace speechpress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kNoEnd = std::numeric_limits<int64_t>::max() / 2;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

ChunkBuffer first_chunk(const StreamSpec& spec) {
  return ChunkBuffer(spec.chunk_samples(), spec.silence_samples());
}

}  // namespace

StreamingExtractor::StreamingExtractor(std::shared_ptr<Engine> engine)
    : engine_(std::move(engine)),
      chunk_(first_chunk(engine_->spec())),
      chunk_frames_(static_cast<size_t>(spec().chunk_frames * spec().width)) {
  reset();
}

StreamingExtractor StreamingExtractor::load(const std::string& path, int64_t chunk_frames,
                                            int threads) {
  return StreamingExtractor(Engine::load(path, {chunk_frames, threads}));
}

Frames StreamingExtractor::push(const float* samples, size_t count) {
  return hear(samples, count);
}

Frames StreamingExtractor::push(const int16_t* samples, size_t count) {
  return hear(samples, count);
}

Frames StreamingExtractor::flush() {
  require_open();
  ended_ = true;
  end_frame_ = spec().frames(counts().samples);
  engine_->set_end(state_, end_frame_);
  Frames out;
  while (std::max<int64_t>(next_frame_, 0) < end_frame_) {
    chunk_.pad();
    run_chunk(out);
  }
  return out;
}

void StreamingExtractor::reset() {
  state_ = engine_->initial_state();
  chunk_ = first_chunk(spec());
  next_frame_ = spec().first_frame();
  end_frame_ = kNoEnd;
  ended_ = false;
}

template <typename Sample>
Frames StreamingExtractor::hear(const Sample* samples, size_t count) {
  require_open();
  Frames out;
  while (count > 0) {
    const size_t taken = chunk_.fill(samples, count);
    samples += taken;
    count -= taken;
    if (chunk_.full()) run_chunk(out);
  }
  return out;
}

void StreamingExtractor::require_open() const {
  if (ended_) throw Error("this stream was flushed; call reset() before the next one");
}

void StreamingExtractor::run_chunk(Frames& out) {
  const auto start = Clock::now();
  engine_->step(chunk_.data(), state_, chunk_frames_.data());
  out.chunk_ms.push_back(ms_since(start));
  chunk_.clear();
  const int64_t first = std::max<int64_t>(next_frame_, 0);
  const int64_t last = std::min(next_frame_ + spec().chunk_frames, end_frame_);
  for (int64_t frame = first; frame < last; ++frame) {
    const float* row = chunk_frames_.data() + (frame - next_frame_) * spec().width;
    out.values.insert(out.values.end(), row, row + spec().width);
    out.end_s.push_back(spec().end_s(frame));
  }
  next_frame_ += spec().chunk_frames;
}

}  // namespace speechpress
