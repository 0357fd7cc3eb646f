#include "answers/parts.h"

#include <algorithm>
#include <cmath>

namespace speechpress {
namespace {

using Type = JsonValue::Type;

}  // namespace

Error head_error(const HeadSpec& spec, const std::string& text) {
  return Error("head " + spec.name + " (" + spec.kind + "): " + text);
}

Parameters::Parameters(const HeadSpec& spec) : spec_(spec) {
  if (spec.decoder && !spec.decoder->is(Type::kObject)) {
    throw head_error(spec, "its decoder is no object; export it again");
  }
}

double Parameters::number(const std::string& key, double otherwise, double low, double high,
                          bool above) {
  const JsonValue* value = find(key);
  if (value == nullptr) return otherwise;
  const bool fits = value->is(Type::kNumber) && value->number <= high &&
                    (above ? value->number > low : value->number >= low);
  if (!fits) throw unfit(key, "a number within its range");
  return value->number;
}

double Parameters::number_or_null(const std::string& key, double otherwise, double high) {
  const JsonValue* value = find(key);
  if (value != nullptr && value->is(Type::kNull)) return -1;
  return number(key, otherwise, 0, high, true);
}

int64_t Parameters::whole(const std::string& key, int64_t otherwise, int64_t low, int64_t high) {
  const JsonValue* value = find(key);
  if (value == nullptr) return otherwise;
  const bool fits = value->is(Type::kNumber) && value->whole &&
                    value->number >= static_cast<double>(low) &&
                    value->number <= static_cast<double>(high);
  if (!fits) throw unfit(key, "a whole number within its range");
  return static_cast<int64_t>(value->number);
}

bool Parameters::flag(const std::string& key, bool otherwise) {
  const JsonValue* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is(Type::kTrue) && !value->is(Type::kFalse)) throw unfit(key, "true or false");
  return value->is(Type::kTrue);
}

size_t Parameters::choice(const std::string& key, const std::vector<std::string>& choices) {
  const JsonValue* value = find(key);
  if (value == nullptr) return 0;
  const auto found = std::find(choices.begin(), choices.end(), value->text);
  if (!value->is(Type::kText) || found == choices.end()) throw unfit(key, "one of those known");
  return static_cast<size_t>(found - choices.begin());
}

void Parameters::done() const {
  if (!spec_.decoder) return;
  for (const auto& [key, value] : spec_.decoder->members) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      throw head_error(spec_, "its decoder has an unknown parameter \"" + key +
                                  "\"; it needs a newer speechpress, or to be exported again");
    }
  }
}

const JsonValue* Parameters::find(const std::string& key) {
  known_.push_back(key);
  return spec_.decoder ? spec_.decoder->find(key) : nullptr;
}

Error Parameters::unfit(const std::string& key, const std::string& wanted) const {
  return head_error(spec_, "decoder." + key + " must be " + wanted + "; export it again");
}

void check_labels(const HeadSpec& spec, int64_t least) {
  const auto labels = static_cast<int64_t>(spec.labels.size());
  const int64_t width = spec.widths.empty() ? labels : spec.widths[0];
  if (labels == width && width >= least) return;
  throw head_error(spec, "has " + std::to_string(labels) + " labels for " + std::to_string(width) +
                             " columns, but must have one for each, and at least " +
                             std::to_string(least) + "; export it again");
}

void check_threshold(const HeadSpec& spec) {
  if (spec.threshold && !(*spec.threshold >= 0 && *spec.threshold <= 1)) {
    throw head_error(spec, "its threshold must be from 0 to 1; export it again");
  }
}

void check_outputs(const HeadSpec& spec, const std::vector<Rows>& outputs) {
  bool fit = outputs.size() == (spec.kind == "units" ? 2 : 1);
  for (size_t i = 0; fit && i < outputs.size(); ++i) {
    const Rows& rows = outputs[i];
    fit = (spec.widths.size() <= i || rows.width == spec.widths[i]) && rows.width > 0 &&
          rows.count == outputs[0].count &&
          rows.values.size() == static_cast<size_t>(rows.count * rows.width);
  }
  if (!fit) throw head_error(spec, "its outputs are not those that it must have");
  for (const Rows& rows : outputs) {
    for (const double value : rows.values) {
      if (!std::isfinite(value)) {
        throw head_error(spec, "it gave values that are not finite; check the bundle");
      }
    }
  }
}

int64_t to_frames(const HeadSpec& spec, double duration_s, int64_t least) {
  const double frames = duration_s * static_cast<double>(spec.sample_rate) /
                        static_cast<double>(spec.hop_samples);
  return std::max(least, static_cast<int64_t>(std::floor(frames + 0.5)));
}

void softmax(const double* x, int64_t width, std::vector<double>& p) {
  p.resize(static_cast<size_t>(width));
  const double most = *std::max_element(x, x + width);
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += p[static_cast<size_t>(i)] = std::exp(x[i] - most);
  for (double& value : p) value /= sum;
}

double sigmoid(double x) {
  const double small = std::exp(-std::fabs(x));
  return x >= 0 ? 1 / (1 + small) : small / (1 + small);
}

int64_t best_of(const double* x, int64_t width) {
  return std::max_element(x, x + width) - x;
}

bool passes(const HeadSpec& spec, double score) {
  return !spec.threshold || score >= *spec.threshold;
}

Event make_event(const HeadSpec& spec, int64_t number, const std::string& label, int64_t first,
                 int64_t last, double score, bool final) {
  return {spec.name,          spec.kind, number, label, spec.start_s(first),
          spec.end_s(last), score,     final,  {}};
}

}  // namespace speechpress
