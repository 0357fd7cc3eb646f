#include <cmath>

#include "answers/kinds.h"
#include "answers/parts.h"

namespace speechpress {
namespace {

class Speaker : public Decoder {
 public:
  explicit Speaker(const HeadSpec& spec) : spec_(spec) {
    Parameters parameters(spec_);
    const double every_s = parameters.number_or_null("every_s", 1.0, 3600);
    every_ = every_s < 0 ? 0 : to_frames(spec, every_s, 1);
    normalise_ = parameters.flag("normalise", true);
    parameters.done();
  }

  void reset() override {
    frames_ = told_ = 0;
    vector_.clear();
  }

  void step(const std::vector<Rows>& outputs, int64_t heard, std::vector<Event>& events) override {
    check_outputs(spec_, outputs);
    const Rows& rows = outputs[0];
    if (heard == 0 || rows.count == 0) return;
    frames_ = heard;
    const double* last = rows.row(rows.count - 1);
    vector_.assign(last, last + rows.width);
    if (every_ == 0 || heard / every_ == told_) return;
    told_ = heard / every_;
    tell(false, events);
  }

  void finish(std::vector<Event>& events) override {
    if (!vector_.empty()) tell(true, events);
  }

  Wait wait() const override { return {spec_.ms(every_), 0}; }

 private:
  void tell(bool final, std::vector<Event>& events) const {
    double squares = 0;
    for (const double value : vector_) squares += value * value;
    const double length = std::sqrt(squares);
    events.push_back(make_event(spec_, 0, "", 0, frames_ - 1, length, final));
    auto& told = events.back().vector = vector_;
    if (!normalise_ || length <= 0) return;
    for (double& value : told) value /= length;
  }

  HeadSpec spec_;
  int64_t every_;
  bool normalise_;
  int64_t frames_ = 0, told_ = 0;
  std::vector<double> vector_;
};

}  // namespace

std::unique_ptr<Decoder> make_speaker(const HeadSpec& spec) {
  return std::make_unique<Speaker>(spec);
}

}  // namespace speechpress
