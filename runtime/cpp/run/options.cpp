#include "options.h"

#include <charconv>
#include <cstdint>
#include <functional>
#include <map>

namespace speechpress {
namespace {

using Setter = std::function<void(Options&, const std::string& name, const std::string& value)>;

template <typename Number>
Number parse_count(const std::string& name, const std::string& value) {
  Number number = 0;
  const char* end = value.data() + value.size();
  const auto result = std::from_chars(value.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end || number < 1) {
    throw UsageError(name + " is '" + value + "', but must be a whole number of at least 1");
  }
  return number;
}

SampleFormat parse_format(const std::string& name, const std::string& value) {
  if (value == "f32") return SampleFormat::kFloat32;
  if (value == "s16") return SampleFormat::kPcm16;
  throw UsageError(name + " is '" + value + "', but must be f32 or s16");
}

bool parse_events(const std::string& name, const std::string& value) {
  if (value == "jsonl") return true;
  throw UsageError(name + " is '" + value + "', but must be jsonl");
}

Setter text(std::string Options::*field) {
  return [field](Options& options, const std::string&, const std::string& value) {
    options.*field = value;
  };
}

template <typename Number>
Setter count(Number Options::*field) {
  return [field](Options& options, const std::string& name, const std::string& value) {
    options.*field = parse_count<Number>(name, value);
  };
}

const std::map<std::string, bool Options::*>& flags() {
  static const std::map<std::string, bool Options::*> flags = {
      {"--csv", &Options::csv},
      {"--json", &Options::json},
      {"--pace", &Options::pace},
      {"--unchecked", &Options::unchecked},
      {"--help", &Options::help}};
  return flags;
}

const std::map<std::string, Setter>& settings() {
  static const std::map<std::string, Setter> settings = {
      {"--wav", text(&Options::wav)},
      {"--out", text(&Options::out)},
      {"--etdump", text(&Options::etdump)},
      {"--times", text(&Options::times)},
      {"--chunk-frames", count(&Options::chunk_frames)},
      {"--threads", count(&Options::threads)},
      {"--repeat", count(&Options::repeat)},
      {"--format", [](Options& options, const std::string& name, const std::string& value) {
         options.format = parse_format(name, value);
       }},
      {"--events", [](Options& options, const std::string& name, const std::string& value) {
         options.events = parse_events(name, value);
       }}};
  return settings;
}

void check(const Options& options) {
  if (options.help) return;
  if (options.program.empty()) throw UsageError("which program? Name an encoder.pte");
  if (options.repeat > 1 && options.wav.empty()) {
    throw UsageError("--repeat needs --wav: stdin can be heard only once");
  }
  if (options.events && (options.json || options.times == "-")) {
    throw UsageError("--events goes to stdout, as --json and --times - do; leave them out");
  }
  if (options.times == "-" && !options.json && options.out.empty()) {
    throw UsageError("--times - needs --json or --out: the frames go to stdout");
  }
}

}  // namespace

const char* const kUsage =
    R"(speechpress-run PROGRAM.pte [options]: audio in, frames out as soon as their chunk is full

Audio is mono at the model's rate, which is 16 kHz. It comes from stdin as raw little-endian samples.
  --format f32|s16    of the samples on stdin; f32 unless told
  --wav FILE          this file instead of stdin: PCM of 16 bits or floats of 32
  --chunk-frames N    one of the program's chunk sizes; its first unless told
  --threads N         of ExecuTorch's pool; its own choice unless told
  --unchecked         run a program that no bundle.json lies beside, without knowing whether it is whole
  --pace              hear no faster than audio comes from a microphone
  --repeat N          hear the wav file N times, each as a new stream, for timings; frames of the first
Results
  --out FILE          the frames, width float32 each; stdout unless told, nowhere with --json or --events
  --events jsonl      what the bundle's heads say, on stdout as it comes: an object on each line
  --csv               the frames as CSV: frame, end_s, and a column for each dimension
  --json              the timings on stdout; without it they go to stderr, as the last line
  --times FILE        a line for each chunk as it ends: "chunk", load_ms, start_s, ms; - is stdout
  --etdump FILE       where the time goes, for ExecuTorch's Inspector
)";

Options parse_options(const std::vector<std::string>& words) {
  Options options;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (const auto flag = flags().find(word); flag != flags().end()) {
      options.*(flag->second) = true;
    } else if (const auto setting = settings().find(word); setting != settings().end()) {
      if (++i == words.size()) throw UsageError(word + " needs a value");
      setting->second(options, word, words[i]);
    } else if (word.rfind("-", 0) == 0 || !options.program.empty()) {
      throw UsageError("'" + word + "' is not understood");
    } else {
      options.program = word;
    }
  }
  check(options);
  return options;
}

}  // namespace speechpress
