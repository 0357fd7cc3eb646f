#include <cmath>
#include <string>
#include <vector>

#include "answers/heads.h"
#include "check.h"
#include "json_value.h"
#include "speechpress/decoder.h"

namespace speechpress::tests {
namespace {

JsonValue parsed(const std::string& json) {
  return parse_json(json, 1000);
}

void json_is_read_strictly() {
  const JsonValue value = parsed(R"( {"a": [1, -2.5e1, true, null, "\u00e9\ud83d\ude42\n"], "b": {}} )");
  const auto& items = value.find("a")->items;
  CHECK(items[0].whole && items[0].number == 1 && !items[1].whole && items[1].number == -25);
  CHECK(items[2].is(JsonValue::Type::kTrue) && items[3].is(JsonValue::Type::kNull));
  CHECK(items[4].text == "\xC3\xA9\xF0\x9F\x99\x82\n" && value.find("c") == nullptr);
  for (const char* bad :
       {"", " ", "{", "[1", "[1,]", "{\"a\" 1}", "{\"a\": 1, \"a\": 2}", "nul", "01", "1.", "-", ".5", "+1",
        "1e999", "NaN", "[1] 2", "\"a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\x80\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xF5\x80\x80\x80\"", "\"\xC3\"",
        "'a'", "{1: 2}"}) {
    check_throws([&] { parsed(bad); }, "it ");
  }
  check_throws([] { parsed(std::string(1000, '[')); }, "nested too deep");
  check_throws([] { parsed("[" + std::string(3000, ' ') + std::string(3000, '1') + "]"); }, "out of range");
  std::string many = "[0";
  for (int i = 0; i < 2000; ++i) many += ",0";
  check_throws([&] { parsed(many + "]"); }, "too many values");
}

std::string head(const std::string& kind, const std::string& labels, const std::string& widths,
                 const std::string& decoder = "{}", const std::string& threshold = "null") {
  return "{\"name\": \"h\", \"kind\": \"" + kind + "\", \"labels\": " + labels + ", \"widths\": " + widths +
         ", \"hop_samples\": 320, \"receptive_samples\": 400, \"sample_rate\": 16000, \"decoder\": " + decoder +
         ", \"threshold\": " + threshold + ", \"delay_ms\": 0.0}";
}

/// With a million frames a second.
std::string quick(std::string head) {
  head.replace(head.find("320"), 3, "1");
  return head.replace(head.find("16000"), 5, "1000000");
}

std::vector<HeadSpec> heads(const std::string& list) {
  return read_heads("{\"schema\": 2, \"heads\": " + list + "}");
}

void heads_are_read_or_refused() {
  CHECK(read_heads("{\"schema\": 1}").empty() && heads("[]").empty());
  const auto read = heads("[" + head("units", "[]", "[5, 1]", "{\"dedup\": false}", "0.25") + "]");
  CHECK(read.size() == 1 && read[0].widths[0] == 5 && *read[0].threshold == 0.25);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"7", "no list"},
      {"[7]", "no objects"},
      {"[{}]", "lack \"name\""},
      {"[" + head("ctc", "[\"\"]", "[1]") + "]", "at least 2"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[3]") + "]", "2 labels for 3 columns"},
      {"[" + head("ctc", "[\"\", 1]", "[2]") + "]", "no texts"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[2, 2]") + "]", "number of outputs"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[2]", "{\"beam\": 8.0}") + "]", "decoder.beam"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[2]", "{\"beam\": 1e9}") + "]", "decoder.beam"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[2]", "{\"wait_s\": 0}") + "]", "decoder.wait_s"},
      {"[" + head("ctc", "[\"\", \"a\"]", "[2]", "{\"method\": \"best\"}") + "]", "decoder.method"},
      {"[" + quick(head("classify", "[\"a\", \"b\"]", "[2]", "{\"window_s\": 60}")) + "]", "too many values"},
      {"[" + head("vad", "[\"speech\"]", "[3]") + "]", "one column"},
      {"[" + head("vad", "[\"speech\"]", "[1]", "{\"hangover\": 1}") + "]", "unknown parameter"},
      {"[" + head("vad", "[\"speech\"]", "[1]", "[]") + "]", "lack \"decoder\""},
      {"[" + head("vad", "[\"speech\"]", "[1]", "{}", "2") + "]", "threshold must be"},
      {"[" + head("vad", "[\"speech\"]", "[99999999]") + "]", "out of range"},
      {"[" + head("smell", "[]", "[1]") + "]", "no decoder for this kind"},
      {"[" + head("vad", "[]", "[1]") + ", " + head("vad", "[]", "[1]") + "]", "two heads of one name"},
  };
  for (const auto& [list, text] : bad) {
    check_throws([&list = list] { heads(list); }, text);
  }
}

void outputs_that_do_not_fit_are_refused() {
  const auto spec = heads("[" + head("units", "[]", "[2, 1]") + "]")[0];
  const auto decoder = make_decoder(spec);
  std::vector<Event> events;
  const auto step = [&](std::vector<Rows> outputs) { decoder->step(outputs, 0, events); };
  step({{1, 2, {1, 0.5}}, {1, 1, {1}}});
  CHECK(events.size() == 1 && events[0].label == "1" && !events[0].final);
  check_throws([&] { step({}); }, "not those");
  check_throws([&] { step({{1, 2, {1, 1}}}); }, "not those");
  check_throws([&] { step({{1, 2, {1}}, {1, 1, {1}}}); }, "not those");
  check_throws([&] { step({{1, 3, {1, 1, 1}}, {1, 1, {1}}}); }, "not those");
  check_throws([&] { step({{1, 2, {1, NAN}}, {1, 1, {1}}}); }, "not finite");
  for (const double id : {-1.0, 2.0, 0.5, 1e300}) {
    check_throws([&] { step({{1, 2, {1, 1}}, {1, 1, {id}}}); }, "none of its units");
  }
}

void events_are_lines_of_json() {
  const Event event{"h\"", "ctc", 3, "\xC3\xA9\n", 0.02, 1.0, 0.12345, false, {0.5, -1.0 / 3}};
  CHECK(to_json(event) ==
        "{\"head\": \"h\\\"\", \"kind\": \"ctc\", \"number\": 3, \"label\": \"\xC3\xA9\\u000a\", \"start_s\": 0.02, "
        "\"end_s\": 1.0, \"score\": 0.1235, \"final\": false, \"vector\": [0.5, -0.3333]}");
}

}  // namespace

std::vector<Test> tests_of_answers() {
  return {
      {"JSON, strictly", json_is_read_strictly},
      {"heads of a bundle", heads_are_read_or_refused},
      {"outputs of a head", outputs_that_do_not_fit_are_refused},
      {"events as JSON", events_are_lines_of_json},
  };
}

}  // namespace speechpress::tests
