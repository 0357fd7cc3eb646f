#include <optional>

#include "answers/beam.h"
#include "answers/kinds.h"
#include "answers/runs.h"

namespace speechpress {
namespace {

constexpr int64_t kBlank = 0;

class Ctc : public Decoder {
 public:
  explicit Ctc(const HeadSpec& spec) : spec_(spec) {
    check_labels(spec, 2);
    check_threshold(spec);
    Parameters parameters(spec_);
    greedy_ = parameters.choice("method", {"greedy", "beam"}) == 0;
    const int64_t beam = parameters.whole("beam", 8, 1, 100);
    const double least = parameters.number("least", 0.001, 0, 1);
    wait_ = to_frames(spec, parameters.number("wait_s", 1.0, 0, 60, true), 1);
    parameters.done();
    const auto name = [this](int64_t label) { return spec_.labels[static_cast<size_t>(label)]; };
    runs_.emplace(spec_, name, [](double score) { return score; }, kBlank, true);
    search_.emplace(spec_, beam, least, wait_);
  }

  void reset() override {
    runs_->reset();
    search_->reset();
  }

  void step(const std::vector<Rows>& outputs, int64_t, std::vector<Event>& events) override {
    check_outputs(spec_, outputs);
    const Rows& logits = outputs[0];
    if (logits.count == 0) return;
    for (int64_t i = 0; i < logits.count; ++i) {
      softmax(logits.row(i), logits.width, p_);
      if (greedy_) {
        const int64_t best = best_of(logits.row(i), logits.width);
        runs_->hear(best, p_[static_cast<size_t>(best)], events);
      } else {
        search_->hear(p_, events);
      }
    }
    greedy_ ? runs_->pause(events) : search_->pause(events);
  }

  void finish(std::vector<Event>& events) override {
    greedy_ ? runs_->close(events) : search_->finish(events);
  }

  Wait wait() const override { return {0, spec_.ms(greedy_ ? 1 : wait_ + 1)}; }

 private:
  HeadSpec spec_;
  bool greedy_;
  int64_t wait_;
  std::optional<Runs> runs_;
  std::optional<Search> search_;
  std::vector<double> p_;
};

}  // namespace

std::unique_ptr<Decoder> make_ctc(const HeadSpec& spec) {
  return std::make_unique<Ctc>(spec);
}

}  // namespace speechpress
