#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace speechpress {

struct JsonValue;

/// A head of a bundle: what bundle.json says of it. The counterpart of
/// `speechpress.runtime.answers.head_spec.HeadSpec`.
struct HeadSpec {
  std::string name;
  std::string kind;
  std::vector<std::string> labels;
  std::vector<int64_t> widths;  ///< columns of each output
  int64_t hop_samples = 320;
  int64_t sample_rate = 16000;
  std::shared_ptr<const JsonValue> decoder;  ///< its parameters; none: all as they are by default
  std::optional<double> threshold;
  double delay_ms = 0;

  /// Outputs are rows for each frame, or for "speaker" one for each chunk.
  bool by_chunk() const { return kind == "speaker"; }
  double start_s(int64_t frame) const {
    return static_cast<double>(frame * hop_samples) / static_cast<double>(sample_rate);
  }
  double end_s(int64_t frame) const { return start_s(frame + 1); }
  double ms(int64_t frames) const { return 1000.0 * frames * hop_samples / sample_rate; }
};

}  // namespace speechpress
