#include "speechpress/chunk_buffer.h"

#include <algorithm>
#include <cmath>

namespace speechpress {
namespace {

constexpr float kPcm16Scale = 1.0f / 32768;
constexpr float kFullScale = 1.0f - kPcm16Scale;
constexpr float kLoudest = 2147483648.0f;  // 2^31, as in runtime/samples.py: squares of it stay finite

float as_float(float sample) {
  return sample;
}
float as_float(int16_t sample) {
  return sample * kPcm16Scale;
}

}  // namespace

ChunkBuffer::ChunkBuffer(int64_t chunk_samples, int64_t silence_samples)
    : samples_(static_cast<size_t>(chunk_samples)), filled_(static_cast<size_t>(silence_samples)) {}

size_t ChunkBuffer::fill(const float* samples, size_t count) {
  return take(samples, count);
}

size_t ChunkBuffer::fill(const int16_t* samples, size_t count) {
  return take(samples, count);
}

void ChunkBuffer::pad() {
  std::fill(samples_.begin() + static_cast<std::ptrdiff_t>(filled_), samples_.end(), 0.0f);
  filled_ = samples_.size();
}

template <typename Sample>
size_t ChunkBuffer::take(const Sample* samples, size_t count) {
  const size_t taken = std::min(count, samples_.size() - filled_);
  for (size_t i = 0; i < taken; ++i) samples_[filled_ + i] = mended(as_float(samples[i]));
  filled_ += taken;
  counts_.samples += static_cast<int64_t>(taken);
  return taken;
}

float ChunkBuffer::mended(float sample) {
  if (!std::isfinite(sample)) {
    ++counts_.replaced;
    return 0.0f;
  }
  if (std::abs(sample) >= kFullScale) ++counts_.clipped;
  return std::clamp(sample, -kLoudest, kLoudest);
}

}  // namespace speechpress
