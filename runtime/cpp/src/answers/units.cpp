#include <algorithm>
#include <cmath>

#include "answers/kinds.h"
#include "answers/runs.h"

namespace speechpress {
namespace {

class Units : public Decoder {
 public:
  explicit Units(const HeadSpec& spec) : spec_(spec) {
    Parameters parameters(spec_);
    dedup_ = parameters.flag("dedup", true);
    parameters.done();
    const auto name = [](int64_t unit) { return std::to_string(unit); };
    runs_.emplace(spec_, name, [](double distance) { return 1 / (1 + distance); }, -1, dedup_);
  }

  void reset() override { runs_->reset(); }

  void step(const std::vector<Rows>& outputs, int64_t, std::vector<Event>& events) override {
    check_outputs(spec_, outputs);
    const Rows &distances = outputs[0], &ids = outputs[1];
    for (int64_t i = 0; i < ids.count; ++i) {
      const double id = ids.row(i)[0];
      if (id < 0 || id >= static_cast<double>(distances.width) || id != std::floor(id)) {
        throw head_error(spec_, "it gave an id that is none of its units; check the bundle");
      }
    }
    for (int64_t i = 0; i < ids.count; ++i) {
      const auto unit = static_cast<int64_t>(ids.row(i)[0]);
      // Rounding can leave a squared distance slightly below 0.
      runs_->hear(unit, std::max(0.0, distances.row(i)[unit]), events);
    }
    if (ids.count > 0) runs_->pause(events);
  }

  void finish(std::vector<Event>& events) override { runs_->close(events); }

  Wait wait() const override { return {0, dedup_ ? spec_.ms(1) : 0}; }

 private:
  HeadSpec spec_;
  bool dedup_;
  std::optional<Runs> runs_;
};

}  // namespace

std::unique_ptr<Decoder> make_units(const HeadSpec& spec) {
  return std::make_unique<Units>(spec);
}

}  // namespace speechpress
