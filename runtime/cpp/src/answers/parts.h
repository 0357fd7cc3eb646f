#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json_value.h"
#include "speechpress/decoder.h"
#include "speechpress/error.h"

namespace speechpress {

/// Reads the parameters of a head's decoder; what is not read until done() is unknown.
class Parameters {
 public:
  explicit Parameters(const HeadSpec& spec);

  double number(const std::string& key, double otherwise, double low, double high,
                bool above = false);
  /// As number(), but null is allowed, and means -1, which is also what it is when it is not named.
  double number_or_null(const std::string& key, double otherwise, double high);
  int64_t whole(const std::string& key, int64_t otherwise, int64_t low, int64_t high);
  bool flag(const std::string& key, bool otherwise);
  /// The place of the text among the choices; 0 when it is not named.
  size_t choice(const std::string& key, const std::vector<std::string>& choices);

  /// Throws Error when there is a parameter that was not asked for.
  void done() const;

 private:
  const JsonValue* find(const std::string& key);
  Error unfit(const std::string& key, const std::string& wanted) const;

  const HeadSpec& spec_;
  std::vector<std::string> known_;
};

/// What to say of a head that is not as it must be.
Error head_error(const HeadSpec& spec, const std::string& text);

/// Throws Error unless there is a label for each column of the first output, and at least so many.
void check_labels(const HeadSpec& spec, int64_t least);

/// Throws Error when the threshold is no probability.
void check_threshold(const HeadSpec& spec);

/// Throws Error unless the outputs are those of the head, all of one length where they are per
/// frame, and finite.
void check_outputs(const HeadSpec& spec, const std::vector<Rows>& outputs);

/// The nearest number of frames, a half rounded up.
int64_t to_frames(const HeadSpec& spec, double duration_s, int64_t least = 0);

void softmax(const double* x, int64_t width, std::vector<double>& p);
double sigmoid(double x);

/// The place of the largest value, the first one of equals.
int64_t best_of(const double* x, int64_t width);

/// Whether it is an answer: a score at the threshold is one.
bool passes(const HeadSpec& spec, double score);

Event make_event(const HeadSpec& spec, int64_t number, const std::string& label, int64_t first,
                 int64_t last, double score, bool final);

}  // namespace speechpress
