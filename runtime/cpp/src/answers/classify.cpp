#include <optional>

#include "answers/kinds.h"
#include "answers/parts.h"

namespace speechpress {
namespace {

constexpr double kMostValues = 1e7;  // of a window: frames times labels

struct Answer {
  int64_t label;
  double score;
};

class Classify : public Decoder {
 public:
  explicit Classify(const HeadSpec& spec) : spec_(spec) {
    check_labels(spec, 1);
    Parameters parameters(spec_);
    window_ = to_frames(spec, parameters.number("window_s", 1.0, 0, 60, true), 1);
    const double every_s = parameters.number_or_null("every_s", -1, 3600);
    every_ = every_s < 0 ? 0 : to_frames(spec, every_s, 1);
    logit_ = parameters.choice("score", {"softmax", "logit"}) == 1;
    clip_ = parameters.flag("clip", true);
    parameters.done();
    classes_ = spec.labels.size();
    if (static_cast<double>(window_) * static_cast<double>(classes_) > kMostValues) {
      throw head_error(spec, "its window holds too many values; export it again with a shorter one");
    }
    reset();
  }

  void reset() override {
    frames_ = number_ = 0;
    ring_.assign(static_cast<size_t>(window_) * classes_, 0.0);
    sum_.assign(classes_, 0.0);
    all_.assign(classes_, 0.0);
    run_.reset();
  }

  void step(const std::vector<Rows>& outputs, int64_t, std::vector<Event>& events) override {
    check_outputs(spec_, outputs);
    for (int64_t i = 0; i < outputs[0].count; ++i) {
      hear(outputs[0].row(i));
      if (frames_ < window_) continue;
      const Answer answer = best(sum_, window_);
      every_ > 0 ? tell_every(answer, events) : tell_change(answer, events);
    }
  }

  void finish(std::vector<Event>& events) override {
    close(events);
    if (!clip_ || frames_ == 0) return;
    const Answer answer = best(all_, frames_);
    if (passes(spec_, answer.score)) {
      events.push_back(event(number_, answer.label, 0, frames_ - 1, answer.score, true));
    }
  }

  Wait wait() const override {
    return {spec_.ms(window_), spec_.ms(every_ > 0 ? every_ : window_)};
  }

 private:
  struct Run {
    int64_t label, first, last;
    double sum;
    int64_t count;
  };

  void hear(const double* row) {
    const int64_t slot = frames_ % window_;
    double* kept = ring_.data() + static_cast<size_t>(slot) * classes_;
    for (size_t i = 0; i < classes_; ++i) {
      sum_[i] = sum_[i] - kept[i] + row[i];
      kept[i] = row[i];
      all_[i] += row[i];
    }
    // Anew once a window, so that rounding cannot add up over hours.
    if (slot == window_ - 1) {
      for (size_t i = 0; i < classes_; ++i) {
        sum_[i] = ring_[i];
        for (size_t place = i + classes_; place < ring_.size(); place += classes_) {
          sum_[i] += ring_[place];
        }
      }
    }
    ++frames_;
  }

  Answer best(const std::vector<double>& sum, int64_t count) {
    mean_ = sum;
    for (double& value : mean_) value /= static_cast<double>(count);
    const auto width = static_cast<int64_t>(classes_);
    const int64_t label = best_of(mean_.data(), width);
    if (logit_) return {label, mean_[static_cast<size_t>(label)]};
    softmax(mean_.data(), width, p_);
    return {label, p_[static_cast<size_t>(label)]};
  }

  void tell_every(const Answer& answer, std::vector<Event>& events) {
    if ((frames_ - window_) % every_ != 0 || !passes(spec_, answer.score)) return;
    events.push_back(
        event(number_++, answer.label, frames_ - window_, frames_ - 1, answer.score, true));
  }

  void tell_change(const Answer& answer, std::vector<Event>& events) {
    const bool answers = passes(spec_, answer.score);
    const int64_t last = frames_ - 1;
    if (run_ && answers && run_->label == answer.label) {
      run_->last = last;
      run_->sum += answer.score;
      ++run_->count;
      return;
    }
    close(events);
    if (!answers) return;
    run_ = Run{answer.label, frames_ - window_, last, answer.score, 1};
    events.push_back(event(number_, answer.label, run_->first, last, answer.score, false));
  }

  void close(std::vector<Event>& events) {
    if (!run_) return;
    const double score = run_->sum / static_cast<double>(run_->count);
    events.push_back(event(number_++, run_->label, run_->first, run_->last, score, true));
    run_.reset();
  }

  Event event(int64_t number, int64_t label, int64_t first, int64_t last, double score,
              bool final) const {
    return make_event(spec_, number, spec_.labels[static_cast<size_t>(label)], first, last, score,
                      final);
  }

  HeadSpec spec_;
  int64_t window_, every_;
  bool logit_, clip_;
  size_t classes_;
  int64_t frames_ = 0, number_ = 0;
  std::vector<double> ring_, sum_, all_, mean_, p_;
  std::optional<Run> run_;
};

}  // namespace

std::unique_ptr<Decoder> make_classify(const HeadSpec& spec) {
  return std::make_unique<Classify>(spec);
}

}  // namespace speechpress
