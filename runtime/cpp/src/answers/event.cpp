#include "speechpress/event.h"

#include <cstdio>
#include <locale>
#include <sstream>

namespace speechpress {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char sign : text) {
    if (sign == '"' || sign == '\\') {
      out += '\\';
      out += sign;
    } else if (static_cast<unsigned char>(sign) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(sign));
      out += escaped;
    } else {
      out += sign;
    }
  }
  return out + '"';
}

/// As Python writes a rounded number: no zeros at the end, but one digit behind the point.
std::string rounded(double value, int digits) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(digits);
  out << std::fixed << value;
  std::string text = out.str();
  while (text.back() == '0' && text[text.size() - 2] != '.') text.pop_back();
  return text;
}

}  // namespace

std::string to_json(const Event& event) {
  std::string out = "{\"head\": " + quoted(event.head) + ", \"kind\": " + quoted(event.kind) +
                    ", \"number\": " + std::to_string(event.number) +
                    ", \"label\": " + quoted(event.label) +
                    ", \"start_s\": " + rounded(event.start_s, 3) +
                    ", \"end_s\": " + rounded(event.end_s, 3) +
                    ", \"score\": " + rounded(event.score, 4) +
                    ", \"final\": " + (event.final ? "true" : "false");
  if (event.vector.empty()) return out + "}";
  out += ", \"vector\": [";
  for (size_t i = 0; i < event.vector.size(); ++i) {
    out += (i > 0 ? ", " : "") + rounded(event.vector[i], 4);
  }
  return out + "]}";
}

}  // namespace speechpress
