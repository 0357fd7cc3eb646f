#pragma once

#include <map>
#include <string>
#include <vector>

#include "answers/parts.h"

namespace speechpress {

/// CTC prefix beam search over an endless stream; see docs/answers.md for every step.
class Search {
 public:
  Search(const HeadSpec& spec, int64_t beam, double least, int64_t wait)
      : spec_(spec), beam_(static_cast<size_t>(beam)), least_(least), wait_(wait) {
    reset();
  }

  void reset();
  /// One frame, by the probabilities of its labels.
  void hear(const std::vector<double>& row, std::vector<Event>& events);
  /// The frames of a step are over.
  void pause(std::vector<Event>& events);
  void finish(std::vector<Event>& events);

 private:
  struct Mark {
    int64_t first, last;
    double sum;
    int64_t count;
  };
  using Marks = std::vector<Mark>;

  /// Where a sequence ends: in a blank, or in its last label.
  struct End {
    double log;
    Marks marks;
  };

  struct Sequence {
    std::vector<int64_t> labels;
    End blank, label;

    double total() const;
    const Marks& marks() const { return blank.log >= label.log ? blank.marks : label.marks; }
    bool ended(size_t place) const;
    bool begins_with(const std::vector<int64_t>& other) const;
    std::vector<int64_t> older_than(int64_t limit) const;
  };

  struct Told {
    int64_t number;
    std::string label;
    double start_s, end_s;
    bool operator==(const Told& other) const {
      return number == other.number && label == other.label && start_s == other.start_s &&
             end_s == other.end_s;
    }
  };

  using Found = std::map<std::vector<int64_t>, Sequence>;

  void extend(Found& found, const Sequence& sequence, const std::vector<double>& row,
              const std::vector<int64_t>& tried) const;
  void decide();
  void settle(std::vector<Event>& events);
  void tell(const Sequence& sequence, size_t count, bool final, std::vector<Event>& events) const;

  const HeadSpec& spec_;
  size_t beam_;
  double least_;
  int64_t wait_;
  int64_t frames_, number_, last_;
  std::vector<Sequence> sequences_;
  std::vector<Told> told_;
};

}  // namespace speechpress
