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
  for (const HeadSpec& head : engine_->heads()) decoders_.push_back(make_decoder(head));
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
  for (const auto& decoder : decoders_) decoder->finish(out.events);
  return out;
}

Wait StreamingExtractor::latency(size_t head) const {
  const HeadSpec& its = engine_->heads().at(head);
  const double late = spec().worst_age_ms() - its.ms(1) + its.delay_ms;
  const Wait wait = decoders_[head]->wait();
  return {late + wait.partial_ms, late + wait.final_ms};
}

void StreamingExtractor::reset() {
  for (const auto& decoder : decoders_) decoder->reset();
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
  Answers answers;
  engine_->step(chunk_.data(), state_, chunk_frames_.data(), &answers);
  out.chunk_ms.push_back(ms_since(start));
  chunk_.clear();
  const int64_t first = std::max<int64_t>(next_frame_, 0);
  const int64_t last = std::min(next_frame_ + spec().chunk_frames, end_frame_);
  for (int64_t frame = first; frame < last; ++frame) {
    const float* row = chunk_frames_.data() + (frame - next_frame_) * spec().width;
    out.values.insert(out.values.end(), row, row + spec().width);
    out.end_s.push_back(spec().end_s(frame));
  }
  // Heads speak of so long ago too, and never of before the stream.
  const int64_t told = std::max(first, std::min(last, spec().lag_frames));
  if (told < last) decode(answers, told, last, out.events);
  next_frame_ += spec().chunk_frames;
}

void StreamingExtractor::decode(const Answers& answers, int64_t first, int64_t last,
                                std::vector<Event>& events) {
  for (size_t head = 0; head < decoders_.size(); ++head) {
    if (engine_->heads()[head].by_chunk()) {
      decoders_[head]->step(answers[head], last - spec().lag_frames, events);
      continue;
    }
    std::vector<Rows> kept;
    for (const Rows& rows : answers[head]) {
      kept.push_back({last - first, rows.width,
                      {rows.row(first - next_frame_), rows.row(last - next_frame_)}});
    }
    decoders_[head]->step(kept, first - spec().lag_frames, events);
  }
}

}  // namespace speechpress
