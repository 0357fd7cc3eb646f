#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace speechpress {

/// What a stream has heard, and how many of its samples were not as they should be.
struct Counts {
  int64_t samples = 0;
  int64_t replaced = 0;  ///< NaN or infinite: taken as silence
  int64_t clipped = 0;   ///< at or beyond full scale: left as they are, but clipped at 2^31
};

/// Cuts audio into chunks: it holds the one that is filling up, and never more.
class ChunkBuffer {
 public:
  /// The first chunk begins with `silence_samples` zeros.
  ChunkBuffer(int64_t chunk_samples, int64_t silence_samples);

  /// Take as many samples as the chunk still has room for, mended and counted; how many these were.
  size_t fill(const float* samples, size_t count);
  size_t fill(const int16_t* samples, size_t count);

  /// Fill the chunk up with silence, which does not count as heard.
  void pad();

  bool full() const { return filled_ == samples_.size(); }
  const float* data() const { return samples_.data(); }
  const Counts& counts() const { return counts_; }

  /// Begin the next chunk.
  void clear() { filled_ = 0; }

 private:
  template <typename Sample>
  size_t take(const Sample* samples, size_t count);
  float mended(float sample);

  std::vector<float> samples_;
  size_t filled_;
  Counts counts_;
};

}  // namespace speechpress
