#pragma once

#include <functional>
#include <optional>

#include "answers/parts.h"

namespace speechpress {

/// Stretches of frames with one label: what greedy CTC and units are made of.
class Runs {
 public:
  using Name = std::function<std::string(int64_t)>;
  using Score = std::function<double(double)>;

  /// `score` of a run comes from the mean of its values; frames of the label `blank` are no answer;
  /// with `merge` neighbours of one label are one run.
  Runs(const HeadSpec& spec, Name name, Score score, int64_t blank, bool merge)
      : spec_(spec), name_(std::move(name)), score_(std::move(score)), blank_(blank), merge_(merge) {}

  void reset();
  void hear(int64_t label, double value, std::vector<Event>& events);
  /// The frames of a step are over.
  void pause(std::vector<Event>& events);
  /// End the run that is open, if there is one.
  void close(std::vector<Event>& events);

 private:
  struct Run {
    int64_t label, first, last;
    double sum;
    int64_t count;
  };

  bool tell(bool final, std::vector<Event>& events) const;

  const HeadSpec& spec_;
  Name name_;
  Score score_;
  int64_t blank_;
  bool merge_;
  int64_t frames_ = 0, number_ = 0;
  std::optional<Run> run_;
};

}  // namespace speechpress
