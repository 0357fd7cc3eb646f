#include "json_text.h"

#include "speechpress/error.h"

namespace speechpress {
namespace {

constexpr int kMostDeep = 64;

/// Walks over a document from its beginning to one value; reads nothing but keys and that value.
class Walk {
 public:
  explicit Walk(std::string_view json) : json_(json) {}

  /// Go on to the value of a key of the object that begins here.
  void enter(const std::string& key) {
    if (!find(key)) throw Error("it has no \"" + key + "\"");
  }

  /// As `enter`; false when the object has no such key.
  bool find(const std::string& key) {
    expect('{');
    if (next() == '}') return false;
    while (true) {
      const std::string found = string();
      expect(':');
      if (found == key) return true;
      skip(0);
      if (next() != ',') return false;
      ++place_;
    }
  }

  /// The value that begins here, as it is written.
  std::string_view value() {
    const size_t start = place_;
    skip(0);
    return json_.substr(start, place_ - start);
  }

  /// The string that begins here. Those with escapes are taken as they are written: what is looked
  /// for has none.
  std::string string() {
    expect('"');
    const size_t start = place_;
    while (here() != '"') place_ += here() == '\\' ? 2 : 1;
    return std::string(json_.substr(start, place_++ - start));
  }

 private:
  char here() const {
    if (place_ >= json_.size()) throw Error("it ends too early");
    return json_[place_];
  }

  char next() {
    while (std::string_view(" \t\r\n").find(here()) != std::string_view::npos) ++place_;
    return here();
  }

  void expect(char wanted) {
    if (next() != wanted) throw Error(std::string("it has no '") + wanted + "' where one is due");
    ++place_;
  }

  void skip(int depth) {
    if (depth > kMostDeep) throw Error("it is nested too deep");
    switch (next()) {
      case '"':
        string();
        return;
      case '{':
        return skip_members(depth, '}', true);
      case '[':
        return skip_members(depth, ']', false);
      default:
        skip_word();
    }
  }

  void skip_members(int depth, char close, bool keys) {
    ++place_;
    if (next() == close) {
      ++place_;
      return;
    }
    while (true) {
      if (keys) {
        string();
        expect(':');
      }
      skip(depth + 1);
      if (next() == close) break;
      expect(',');
    }
    ++place_;
  }

  /// A number, true, false or null.
  void skip_word() {
    const size_t start = place_;
    while (std::string_view(",]} \t\r\n").find(here()) == std::string_view::npos) ++place_;
    if (place_ == start) throw Error("it lacks a value");
  }

  std::string_view json_;
  size_t place_ = 0;
};

}  // namespace

std::string text_at(std::string_view json, const std::vector<std::string>& path) {
  Walk walk(json);
  for (const auto& key : path) walk.enter(key);
  return walk.string();
}

std::string_view part_at(std::string_view json, const std::string& key) {
  Walk walk(json);
  return walk.find(key) ? walk.value() : std::string_view();
}

}  // namespace speechpress
