#include "json_value.h"

#include <cmath>
#include <cstdint>
#include <locale>
#include <sstream>

#include "speechpress/error.h"

namespace speechpress {
namespace {

constexpr int kDeepest = 64;
constexpr size_t kMostDigits = 400;

using Type = JsonValue::Type;

bool is_digit(char sign) {
  return sign >= '0' && sign <= '9';
}

void append_utf8(std::string& text, uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | code >> 6);
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | code >> 12);
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | code >> 18);
    text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  Parser(std::string_view json, size_t most_values) : json_(json), left_(most_values) {}

  JsonValue document() {
    JsonValue value = any(0);
    skip_space();
    if (place_ != json_.size()) throw Error("it has something behind its end");
    return value;
  }

 private:
  bool ended() const { return place_ >= json_.size(); }

  char here() const {
    if (ended()) throw Error("it ends too early");
    return json_[place_];
  }

  bool take(char wanted) {
    if (ended() || json_[place_] != wanted) return false;
    ++place_;
    return true;
  }

  void expect(char wanted) {
    skip_space();
    here();
    if (!take(wanted)) throw Error(std::string("it has no '") + wanted + "' where one is due");
  }

  void skip_space() {
    while (!ended() && std::string_view(" \t\r\n").find(json_[place_]) != std::string_view::npos) {
      ++place_;
    }
  }

  JsonValue any(int depth) {
    if (depth > kDeepest) throw Error("it is nested too deep");
    if (left_-- == 0) throw Error("it has too many values");
    skip_space();
    switch (here()) {
      case '{':
        return object(depth);
      case '[':
        return list(depth);
      case '"':
        return text_value();
      case 'n':
        return word("null", Type::kNull);
      case 't':
        return word("true", Type::kTrue);
      case 'f':
        return word("false", Type::kFalse);
      default:
        return number();
    }
  }

  JsonValue object(int depth) {
    JsonValue value;
    value.type = Type::kObject;
    ++place_;
    skip_space();
    if (take('}')) return value;
    do {
      skip_space();
      std::string key = text();
      if (value.find(key) != nullptr) throw Error("it has the key \"" + key + "\" twice");
      expect(':');
      value.members.emplace_back(std::move(key), any(depth + 1));
      skip_space();
    } while (take(','));
    expect('}');
    return value;
  }

  JsonValue list(int depth) {
    JsonValue value;
    value.type = Type::kList;
    ++place_;
    skip_space();
    if (take(']')) return value;
    do {
      value.items.push_back(any(depth + 1));
      skip_space();
    } while (take(','));
    expect(']');
    return value;
  }

  JsonValue word(std::string_view wanted, Type type) {
    if (json_.substr(place_, wanted.size()) != wanted) throw Error("it holds an unknown word");
    place_ += wanted.size();
    JsonValue value;
    value.type = type;
    return value;
  }

  JsonValue text_value() {
    JsonValue value;
    value.type = Type::kText;
    value.text = text();
    return value;
  }

  void digits() {
    if (!is_digit(here())) throw Error("it holds something that is no value");
    while (!ended() && is_digit(json_[place_])) ++place_;
  }

  JsonValue number() {
    JsonValue value;
    value.type = Type::kNumber;
    value.whole = true;
    const size_t start = place_;
    take('-');
    if (!take('0')) digits();
    if (take('.')) {
      value.whole = false;
      digits();
    }
    if (take('e') || take('E')) {
      value.whole = false;
      if (!take('+')) take('-');
      digits();
    }
    // Not strtod, which reads a comma where the process's language writes one.
    std::istringstream in(std::string(json_.substr(start, place_ - start)));
    in.imbue(std::locale::classic());
    if (place_ - start > kMostDigits || !(in >> value.number) || !std::isfinite(value.number)) {
      throw Error("it holds a number that is out of range");
    }
    return value;
  }

  std::string text() {
    if (here() != '"') throw Error("it has no text where one is due");
    ++place_;
    std::string found;
    while (!take('"')) {
      const auto sign = static_cast<unsigned char>(here());
      if (sign < 0x20) throw Error("it has a control character within a text");
      if (sign == '\\') {
        ++place_;
        append_escaped(found);
      } else if (sign < 0x80) {
        found += static_cast<char>(sign);
        ++place_;
      } else {
        append_wide(found, sign);
      }
    }
    return found;
  }

  /// A character of more than one byte; refuses what is not the one right way to write it.
  void append_wide(std::string& found, unsigned char lead) {
    const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    uint32_t code = lead & (0x3Fu >> more);
    if (lead < 0xC2 || lead > 0xF4) throw Error("it is not UTF-8");
    ++place_;
    for (int i = 0; i < more; ++i, ++place_) {
      const auto byte = static_cast<unsigned char>(here());
      if ((byte & 0xC0) != 0x80) throw Error("it is not UTF-8");
      code = code << 6 | (byte & 0x3Fu);
    }
    const uint32_t least = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      throw Error("it is not UTF-8");
    }
    append_utf8(found, code);
  }

  void append_escaped(std::string& found) {
    static const std::string_view kSigns = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const char sign = here();
    ++place_;
    if (sign != 'u') {
      const size_t at = kSigns.find(sign);
      if (at == std::string_view::npos) throw Error("it has an unknown escape");
      found += kMeant[at];
      return;
    }
    uint32_t code = four_digits();
    if (code >= 0xD800 && code < 0xDC00) {
      if (!take('\\') || !take('u')) throw Error("it has half a character");
      const uint32_t low = four_digits();
      if (low < 0xDC00 || low >= 0xE000) throw Error("it has half a character");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      throw Error("it has half a character");
    }
    append_utf8(found, code);
  }

  uint32_t four_digits() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++place_) {
      const char sign = here();
      const char small = static_cast<char>(sign | 0x20);
      if (is_digit(sign)) {
        code = code << 4 | static_cast<uint32_t>(sign - '0');
      } else if (small >= 'a' && small <= 'f') {
        code = code << 4 | static_cast<uint32_t>(small - 'a' + 10);
      } else {
        throw Error("it has an unknown escape");
      }
    }
    return code;
  }

  std::string_view json_;
  size_t place_ = 0;
  size_t left_;
};

}  // namespace

const JsonValue* JsonValue::find(const std::string& key) const {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

JsonValue parse_json(std::string_view json, size_t most_values) {
  return Parser(json, most_values).document();
}

}  // namespace speechpress
