#include "answers/heads.h"

#include <memory>

#include "json_text.h"
#include "speechpress/decoder.h"
#include "speechpress/error.h"

namespace speechpress {
namespace {

using Type = JsonValue::Type;

constexpr size_t kMostParts = 1'000'000;  // labels, most of all
constexpr size_t kMostHeads = 100;
constexpr double kMostWidth = 65'536, kMostRate = 1e6;

const JsonValue& member(const JsonValue& value, const std::string& key, Type type) {
  const JsonValue* found = value.find(key);
  if (found == nullptr || !found->is(type)) {
    throw Error("its heads lack \"" + key + "\", or have it in another form");
  }
  return *found;
}

int64_t whole(const JsonValue& value, double most) {
  if (!value.is(Type::kNumber) || !value.whole || value.number < 1 || value.number > most) {
    throw Error("its heads have a number that is out of range");
  }
  return static_cast<int64_t>(value.number);
}

}  // namespace

HeadSpec read_head(const JsonValue& value) {
  if (!value.is(Type::kObject)) throw Error("its heads are no objects");
  HeadSpec spec;
  spec.name = member(value, "name", Type::kText).text;
  spec.kind = member(value, "kind", Type::kText).text;
  for (const JsonValue& label : member(value, "labels", Type::kList).items) {
    if (!label.is(Type::kText)) throw Error("its heads have labels that are no texts");
    spec.labels.push_back(label.text);
  }
  for (const JsonValue& width : member(value, "widths", Type::kList).items) {
    spec.widths.push_back(whole(width, kMostWidth));
  }
  if (spec.widths.size() != (spec.kind == "units" ? 2 : 1)) {
    throw Error("its heads have another number of outputs than their kind");
  }
  spec.hop_samples = whole(member(value, "hop_samples", Type::kNumber), kMostRate);
  spec.sample_rate = whole(member(value, "sample_rate", Type::kNumber), kMostRate);
  spec.decoder = std::make_shared<JsonValue>(member(value, "decoder", Type::kObject));
  if (const JsonValue* found = value.find("threshold"); found && !found->is(Type::kNull)) {
    spec.threshold = member(value, "threshold", Type::kNumber).number;
  }
  spec.delay_ms = member(value, "delay_ms", Type::kNumber).number;
  return spec;
}

std::vector<HeadSpec> read_heads(std::string_view document) {
  const std::string_view part = part_at(document, "heads");
  std::vector<HeadSpec> heads;
  if (part.empty()) return heads;
  const JsonValue list = parse_json(part, kMostParts);
  if (!list.is(Type::kList) || list.items.size() > kMostHeads) {
    throw Error("its heads are no list, or too many");
  }
  for (const JsonValue& value : list.items) {
    heads.push_back(read_head(value));
    make_decoder(heads.back());  // refuses what it cannot decode before any audio comes
    for (size_t i = 0; i + 1 < heads.size(); ++i) {
      if (heads[i].name == heads.back().name) throw Error("it has two heads of one name");
    }
  }
  return heads;
}

}  // namespace speechpress
