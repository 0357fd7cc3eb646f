#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "speechpress/event.h"
#include "speechpress/head_spec.h"

namespace speechpress {

/// One output of a head: `count` rows of `width` values.
struct Rows {
  int64_t count = 0;
  int64_t width = 0;
  std::vector<double> values;

  const double* row(int64_t index) const { return values.data() + index * width; }
};

/// How long a decoder itself waits at worst, before its partial and its final events.
struct Wait {
  double partial_ms;  ///< from the end of the first frame that an event is about
  double final_ms;    ///< from the end of the last one
};

/// From the outputs of one head of one stream to events; see docs/answers.md. The memory that it
/// needs does not grow with the stream.
class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Forget everything that was heard.
  virtual void reset() = 0;

  /// The outputs of the next frames, the first of which has the number `first`; of a head that
  /// answers by chunk one row, and `first` is the number of frames heard. Appends to `events`.
  /// Throws Error when they do not fit the head, or are not finite.
  virtual void step(const std::vector<Rows>& outputs, int64_t first, std::vector<Event>& events) = 0;

  /// The stream has ended: appends the events that only waited for more.
  virtual void finish(std::vector<Event>& events) = 0;

  virtual Wait wait() const = 0;
};

/// The decoder of a head. Throws Error: no such kind, a parameter that is unknown or out of its
/// range, labels that do not fit the columns.
std::unique_ptr<Decoder> make_decoder(const HeadSpec& spec);

}  // namespace speechpress
