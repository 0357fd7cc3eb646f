#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <ostream>
#include <vector>

#include "answers/heads.h"
#include "json_value.h"
#include "speechpress/decoder.h"
#include "speechpress/error.h"
#include "speechpress/file.h"

namespace speechpress::tests {
namespace {

constexpr size_t kMostBytes = size_t{1} << 24;
constexpr size_t kMostValues = 1'000'000;
constexpr double kLastDigit = 1.0001e-4;  // libraries may round differently at a half

Rows rows_of(const JsonValue& output, int64_t first, int64_t count, int64_t width) {
  Rows rows{count, width, {}};
  for (int64_t i = first; i < first + count; ++i) {
    for (const JsonValue& value : output.items.at(static_cast<size_t>(i)).items) {
      rows.values.push_back(static_cast<float>(value.number));
    }
  }
  return rows;
}

bool same(const JsonValue& wanted, const JsonValue& found) {
  if (wanted.type != found.type || wanted.items.size() != found.items.size() ||
      wanted.members.size() != found.members.size() || wanted.text != found.text ||
      std::fabs(wanted.number - found.number) > kLastDigit) {
    return false;
  }
  for (size_t i = 0; i < wanted.items.size(); ++i) {
    if (!same(wanted.items[i], found.items[i])) return false;
  }
  for (const auto& [key, value] : wanted.members) {
    const JsonValue* other = found.find(key);
    if (other == nullptr || !same(value, *other)) return false;
  }
  return true;
}

std::string difference(const JsonValue& wanted, const std::vector<Event>& events, size_t step) {
  std::string told;
  bool equal = wanted.items.size() == events.size();
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string line = to_json(events[i]);
    told += "\n    " + line;
    equal = equal && same(wanted.items[i], parse_json(line, kMostValues));
  }
  if (equal) return "";
  return "step " + std::to_string(step) + " must have " + std::to_string(wanted.items.size()) +
         " events, and tells" + told;
}

std::string play(Decoder& decoder, const HeadSpec& spec, const JsonValue& one) {
  const auto& chunks = one.find("chunks")->items;
  const auto& steps = one.find("events")->items;
  int64_t at = 0;
  for (size_t step = 0; step < chunks.size(); ++step) {
    const auto frames = static_cast<int64_t>(chunks[step].number);
    const int64_t first = at;
    at += frames;
    std::vector<Rows> outputs;
    for (const auto& [name, output] : one.find("outputs")->members) {
      const int64_t width = spec.widths.at(outputs.size());
      outputs.push_back(spec.by_chunk() ? rows_of(output, static_cast<int64_t>(step), 1, width)
                                        : rows_of(output, first, frames, width));
    }
    std::vector<Event> events;
    decoder.step(outputs, spec.by_chunk() ? at : first, events);
    if (const auto text = difference(steps.at(step), events, step); !text.empty()) return text;
  }
  std::vector<Event> events;
  decoder.finish(events);
  return difference(steps.back(), events, chunks.size());
}

}  // namespace

bool play_vectors(const std::string& folder, std::ostream& out) {
  bool good = true;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    const JsonValue document = parse_json(File(path.string()).read_all(kMostBytes), kMostValues);
    for (const JsonValue& one : document.find("cases")->items) {
      const HeadSpec spec = read_head(*one.find("spec"));
      const auto decoder = make_decoder(spec);
      std::string text = play(*decoder, spec, one);
      decoder->reset();
      if (text.empty()) text = play(*decoder, spec, one);
      good = good && text.empty();
      out << (text.empty() ? "ok      " : "FAILED  ") << spec.kind << ": " << one.find("name")->text
          << (text.empty() ? "" : ": " + text) << "\n";
    }
  }
  return good;
}

}  // namespace speechpress::tests
