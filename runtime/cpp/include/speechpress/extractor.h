#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "speechpress/chunk_buffer.h"
#include "speechpress/decoder.h"
#include "speechpress/engine.h"

namespace speechpress {

/// Frames that came out of one call.
struct Frames {
  std::vector<float> values;     ///< size() x width
  std::vector<double> end_s;     ///< end of each frame's audio, in seconds since the stream began
  std::vector<Event> events;     ///< what the bundle's heads say, see docs/answers.md
  std::vector<double> chunk_ms;  ///< how long each chunk took that was run for them

  size_t size() const { return end_s.size(); }
};

/// One live stream: pieces of any size go in, frames come out as soon as their chunk is full.
/// A stream is used from one thread at a time.
class StreamingExtractor {
 public:
  /// A stream through an engine that it may share with others.
  explicit StreamingExtractor(std::shared_ptr<Engine> engine);

  /// A stream through an engine of its own; see Engine::load for what it throws.
  static StreamingExtractor load(const std::string& path, int64_t chunk_frames = 0,
                                 int threads = 0);

  /// Hear one piece, at the model's sample rate: floats of full scale 1, or PCM of 16 bits. Samples
  /// that are NaN or infinite count as silence, see counts(). Throws Error after flush().
  Frames push(const float* samples, size_t count);
  Frames push(const int16_t* samples, size_t count);

  /// End the stream: the frames that are left, those of the last, shorter chunk included.
  Frames flush();

  /// Forget everything that was heard; the next piece starts a new stream at time 0.
  void reset();

  /// How late an event of a head is at worst after the audio that it is about, without the time to
  /// compute: its first event after the first frame, the final one after the last.
  Wait latency(size_t head) const;

  const StreamSpec& spec() const { return engine_->spec(); }
  const Counts& counts() const { return chunk_.counts(); }
  Engine& engine() { return *engine_; }

 private:
  template <typename Sample>
  Frames hear(const Sample* samples, size_t count);
  void require_open() const;
  void run_chunk(Frames& out);
  void decode(const Answers& answers, int64_t first, int64_t last, std::vector<Event>& events);

  std::shared_ptr<Engine> engine_;
  State state_;
  ChunkBuffer chunk_;
  std::vector<float> chunk_frames_;
  int64_t next_frame_;  // with which the next chunk starts
  int64_t end_frame_;
  bool ended_;
  std::vector<std::unique_ptr<Decoder>> decoders_;
};

}  // namespace speechpress
