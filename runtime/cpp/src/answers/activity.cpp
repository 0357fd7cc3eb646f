// vad and segment: from a probability per frame to stretches, by hysteresis and minimum durations.

#include <algorithm>

#include "answers/kinds.h"
#include "answers/parts.h"

namespace speechpress {
namespace {

class Activity : public Decoder {
 public:
  Activity(const HeadSpec& spec, std::vector<std::string> labels)
      : spec_(spec), labels_(std::move(labels)) {
    check_threshold(spec_);
    Parameters parameters(spec_);
    on_ = spec.threshold.value_or(0.5);
    off_ = on_ - parameters.number("hysteresis", 0.15, 0, 1);
    min_speech_ = to_frames(spec, parameters.number("min_speech_s", 0.1, 0, 60), 1);
    min_silence_ = to_frames(spec, parameters.number("min_silence_s", 0.2, 0, 60), 1);
    hangover_ = to_frames(spec, parameters.number("hangover_s", 0.1, 0, 60));
    parameters.done();
    reset();
  }

  void reset() override {
    frames_ = number_ = 0;
    tracks_.assign(labels_.size(), Track());
  }

  void step(const std::vector<Rows>& outputs, int64_t, std::vector<Event>& events) override {
    check_outputs(spec_, outputs);
    const Rows& logits = outputs[0];
    for (int64_t i = 0; i < logits.count; ++i, ++frames_) {
      for (size_t track = 0; track < tracks_.size(); ++track) {
        hear(track, probability(logits.row(i), logits.width, track), events);
      }
    }
  }

  void finish(std::vector<Event>& events) override {
    for (size_t track = 0; track < tracks_.size(); ++track) close(track, events);
  }

  Wait wait() const override { return {spec_.ms(min_speech_ - 1), spec_.ms(min_silence_)}; }

 private:
  struct Track {
    bool speaks = false, told = false;
    int64_t number = -1, first = -1, last = -1;
    double sum = 0;
    int64_t count = 0;
    double rest_sum = 0;
    int64_t rest = 0;
  };

  double probability(const double* row, int64_t width, size_t track) {
    if (spec_.kind == "segment" || width == 1) return sigmoid(row[track]);
    softmax(row, width, p_);
    return p_[1];
  }

  void hear(size_t index, double p, std::vector<Event>& events) {
    Track& track = tracks_[index];
    if (!track.speaks) {
      if (p < on_) return;
      track.speaks = true;
      track.first = track.last = frames_;
      track.sum = p;
      track.count = 1;
    } else if (p >= off_) {
      track.last = frames_;
      track.sum = track.sum + track.rest_sum + p;
      track.count += track.rest + 1;
      track.rest_sum = 0;
      track.rest = 0;
    } else {
      track.rest_sum += p;
      ++track.rest;
      if (!track.told || track.rest >= min_silence_) close(index, events);
      return;
    }
    if (track.told || frames_ - track.first + 1 < min_speech_) return;
    track.told = true;
    track.number = number_++;
    events.push_back(make_event(spec_, track.number, labels_[index], track.first, frames_,
                                track.sum / static_cast<double>(track.count), false));
  }

  void close(size_t index, std::vector<Event>& events) {
    const Track track = tracks_[index];
    tracks_[index] = Track();
    if (!track.told) return;
    events.push_back(make_event(spec_, track.number, labels_[index], track.first,
                                track.last + std::min(hangover_, track.rest),
                                track.sum / static_cast<double>(track.count), true));
  }

  HeadSpec spec_;
  std::vector<std::string> labels_;
  double on_, off_;
  int64_t min_speech_, min_silence_, hangover_;
  int64_t frames_ = 0, number_ = 0;
  std::vector<Track> tracks_;
  std::vector<double> p_;
};

}  // namespace

std::unique_ptr<Decoder> make_vad(const HeadSpec& spec) {
  if (!spec.widths.empty() && spec.widths[0] != 1 && spec.widths[0] != 2) {
    throw head_error(spec, "must have one column (speech) or two (silence, speech)");
  }
  return std::make_unique<Activity>(spec, std::vector<std::string>{"speech"});
}

std::unique_ptr<Decoder> make_segment(const HeadSpec& spec) {
  check_labels(spec, 1);
  return std::make_unique<Activity>(spec, spec.labels);
}

}  // namespace speechpress
