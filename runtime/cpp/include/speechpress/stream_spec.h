#pragma once

#include <algorithm>
#include <cstdint>

namespace speechpress {

/// How a streaming model cuts time; the counterpart of `speechpress.runtime.spec.StreamSpec`.
///
/// Frame t is made from the samples [t x hop, t x hop + receptive) and from the past; beyond these
/// it waits for `lookahead_frames` more. A stream starts with silence that fills up its first hop,
/// so that every chunk, also the first, is of `chunk_samples()`.
struct StreamSpec {
  int64_t chunk_frames = 0;
  int64_t width = 0;
  int64_t sample_rate = 0;
  int64_t hop_samples = 0;
  int64_t receptive_samples = 0;
  int64_t lookahead_frames = 0;
  /// How long after its time a frame speaks of it.
  int64_t lag_frames = 0;

  int64_t chunk_samples() const { return chunk_frames * hop_samples; }

  /// Audio that is carried from chunk to chunk.
  int64_t tail_samples() const { return std::max<int64_t>(0, receptive_samples - hop_samples); }

  /// Frames that the first chunk yields before there was audio for frame 0, besides the look-ahead.
  int64_t lead_frames() const { return (tail_samples() + hop_samples - 1) / hop_samples; }

  /// Number of the frame with which the first chunk starts; there is audio from frame 0 on.
  int64_t first_frame() const { return -lead_frames() - lookahead_frames; }

  /// Silence before the first sample.
  int64_t silence_samples() const { return lead_frames() * hop_samples - tail_samples(); }

  double chunk_ms() const { return 1000.0 * chunk_samples() / sample_rate; }

  /// Age of the oldest sample of the hop that a frame speaks of when it comes out, without computing.
  double worst_age_ms() const {
    const int64_t late_frames = lookahead_frames + lag_frames;
    return chunk_ms() + 1000.0 * (tail_samples() + late_frames * hop_samples) / sample_rate;
  }

  /// Frames that `samples` make in all.
  int64_t frames(int64_t samples) const {
    return samples < receptive_samples ? 0 : (samples - receptive_samples) / hop_samples + 1;
  }

  /// When the audio of which a frame speaks ends, in seconds since the stream began.
  double end_s(int64_t frame) const {
    return static_cast<double>((frame - lag_frames) * hop_samples + receptive_samples) /
           sample_rate;
  }
};

}  // namespace speechpress
