#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace speechpress {

/// A value of a JSON document.
struct JsonValue {
  enum class Type { kNull, kFalse, kTrue, kNumber, kText, kList, kObject };

  Type type = Type::kNull;
  double number = 0;
  bool whole = false;  // a number that was written without point and exponent
  std::string text;
  std::vector<JsonValue> items;
  std::vector<std::pair<std::string, JsonValue>> members;

  bool is(Type wanted) const { return type == wanted; }
  const JsonValue* find(const std::string& key) const;
};

/// Reads one document, strictly: as RFC 8259 has it, every number finite, no key twice, texts whole
/// UTF-8, at most 64 levels and `most_values` values. Throws Error for anything else.
JsonValue parse_json(std::string_view json, size_t most_values);

}  // namespace speechpress
