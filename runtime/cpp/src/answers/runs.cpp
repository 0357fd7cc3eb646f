#include "answers/runs.h"

namespace speechpress {

void Runs::reset() {
  frames_ = number_ = 0;
  run_.reset();
}

void Runs::hear(int64_t label, double value, std::vector<Event>& events) {
  const int64_t frame = frames_++;
  if (run_ && run_->label == label && merge_) {
    run_->last = frame;
    run_->sum += value;
    ++run_->count;
    return;
  }
  close(events);
  if (label != blank_) run_ = Run{label, frame, frame, value, 1};
}

void Runs::pause(std::vector<Event>& events) {
  if (!merge_) {
    close(events);
  } else if (run_) {
    tell(false, events);
  }
}

void Runs::close(std::vector<Event>& events) {
  if (!run_) return;
  if (tell(true, events)) ++number_;
  run_.reset();
}

bool Runs::tell(bool final, std::vector<Event>& events) const {
  const double score = score_(run_->sum / static_cast<double>(run_->count));
  if (!passes(spec_, score)) return false;
  events.push_back(
      make_event(spec_, number_, name_(run_->label), run_->first, run_->last, score, final));
  return true;
}

}  // namespace speechpress
