#include "answers/beam.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace speechpress {
namespace {

constexpr double kNever = -1e30;  // the logarithm of 0

/// log(exp(a) + exp(b))
double add(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return low <= kNever ? high : high + std::log1p(std::exp(low - high));
}

}  // namespace

double Search::Sequence::total() const {
  return add(blank.log, label.log);
}

bool Search::Sequence::ended(size_t place) const {
  if (place + 1 < labels.size()) return true;
  return place + 1 == labels.size() && blank.log >= label.log;
}

bool Search::Sequence::begins_with(const std::vector<int64_t>& other) const {
  return other.size() <= labels.size() && std::equal(other.begin(), other.end(), labels.begin());
}

std::vector<int64_t> Search::Sequence::older_than(int64_t limit) const {
  const Marks& all = marks();
  const auto old = std::count_if(all.begin(), all.end(),
                                 [limit](const Mark& mark) { return mark.first <= limit; });
  return {labels.begin(), labels.begin() + old};
}

void Search::reset() {
  frames_ = number_ = 0;
  last_ = -1;
  sequences_ = {Sequence{{}, {0.0, {}}, {kNever, {}}}};
  told_.clear();
}

void Search::hear(const std::vector<double>& row, std::vector<Event>& events) {
  const int64_t top = best_of(row.data(), static_cast<int64_t>(row.size()));
  std::vector<int64_t> tried;
  for (int64_t c = 1; c < static_cast<int64_t>(row.size()); ++c) {
    if (row[static_cast<size_t>(c)] >= least_ || c == top) tried.push_back(c);
  }
  Found found;
  for (const Sequence& sequence : sequences_) extend(found, sequence, row, tried);
  std::vector<std::pair<double, Sequence*>> ranked;
  for (auto& [labels, sequence] : found) ranked.emplace_back(sequence.total(), &sequence);
  // The map has them by their labels already, and equal totals stay in that order.
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& one, const auto& two) { return one.first > two.first; });
  if (ranked.size() > beam_) ranked.resize(beam_);
  sequences_.clear();
  const double best = ranked.front().first;
  for (auto& [total, sequence] : ranked) {
    sequence->blank.log = std::max(kNever, sequence->blank.log - best);
    sequence->label.log = std::max(kNever, sequence->label.log - best);
    sequences_.push_back(std::move(*sequence));
  }
  decide();
  settle(events);
  ++frames_;
}

void Search::extend(Found& found, const Sequence& sequence, const std::vector<double>& row,
                    const std::vector<int64_t>& tried) const {
  const auto join = [&found](const std::vector<int64_t>& labels, End Sequence::*end, double before,
                             double p, const auto& make_marks) {
    if (before <= kNever || p <= 0) return;
    const double log = before + std::log(p);
    auto [place, added] = found.try_emplace(labels);
    if (added) place->second = Sequence{labels, {kNever, {}}, {kNever, {}}};
    End& to = place->second.*end;
    // The marks of a way that is likelier than all before it together.
    if (log > to.log) to.marks = make_marks();
    to.log = add(to.log, log);
  };
  const int64_t last = sequence.labels.empty() ? last_ : sequence.labels.back();
  const double total = sequence.total();
  join(sequence.labels, &Sequence::blank, total, row[0], [&] { return sequence.marks(); });
  if (last > 0) {
    const double p = row[static_cast<size_t>(last)];
    join(sequence.labels, &Sequence::label, sequence.label.log, p, [&] {
      Marks marks = sequence.label.marks;
      // A label that is final already stays as it was told.
      if (!marks.empty()) {
        marks.back() = {marks.back().first, frames_, marks.back().sum + p, marks.back().count + 1};
      }
      return marks;
    });
  }
  for (const int64_t c : tried) {
    const double p = row[static_cast<size_t>(c)];
    std::vector<int64_t> labels = sequence.labels;
    labels.push_back(c);
    join(labels, &Sequence::label, c == last ? sequence.blank.log : total, p, [&] {
      Marks marks = c == last ? sequence.blank.marks : sequence.marks();
      marks.push_back({frames_, frames_, p, 1});
      return marks;
    });
  }
}

void Search::decide() {
  const int64_t limit = frames_ - wait_;
  const Sequence& best = sequences_.front();
  const std::vector<int64_t> old = best.older_than(limit);
  std::vector<Sequence> kept = {best};
  for (size_t i = 1; i < sequences_.size(); ++i) {
    const Sequence& sequence = sequences_[i];
    if (sequence.begins_with(old) && best.begins_with(sequence.older_than(limit))) {
      kept.push_back(sequence);
    }
  }
  sequences_ = std::move(kept);
}

void Search::settle(std::vector<Event>& events) {
  size_t shared = 0;
  const auto is_shared = [&](const Sequence& sequence) {
    return sequence.ended(shared) && sequence.labels[shared] == sequences_[0].labels[shared];
  };
  while (std::all_of(sequences_.begin(), sequences_.end(), is_shared)) ++shared;
  if (shared == 0) return;
  last_ = sequences_[0].labels[shared - 1];
  const size_t before = events.size();
  tell(sequences_[0], shared, true, events);
  number_ += static_cast<int64_t>(events.size() - before);
  const auto shorten = [shared](auto& list) {
    list.erase(list.begin(), list.begin() + static_cast<int64_t>(std::min(shared, list.size())));
  };
  for (Sequence& sequence : sequences_) {
    shorten(sequence.labels);
    shorten(sequence.blank.marks);
    shorten(sequence.label.marks);
  }
}

void Search::tell(const Sequence& sequence, size_t count, bool final,
                  std::vector<Event>& events) const {
  int64_t number = number_;
  for (size_t i = 0; i < count; ++i) {
    const Mark& mark = sequence.marks()[i];
    const double score = mark.sum / static_cast<double>(mark.count);
    if (!passes(spec_, score)) continue;
    const std::string& label = spec_.labels[static_cast<size_t>(sequence.labels[i])];
    events.push_back(make_event(spec_, number++, label, mark.first, mark.last, score, final));
  }
}

void Search::pause(std::vector<Event>& events) {
  std::vector<Event> open;
  tell(sequences_[0], sequences_[0].labels.size(), false, open);
  std::vector<Told> told;
  for (const Event& event : open) {
    told.push_back({event.number, event.label, event.start_s, event.end_s});
    if (std::find(told_.begin(), told_.end(), told.back()) == told_.end()) events.push_back(event);
  }
  told_ = std::move(told);
}

void Search::finish(std::vector<Event>& events) {
  tell(sequences_[0], sequences_[0].labels.size(), true, events);
}

}  // namespace speechpress
