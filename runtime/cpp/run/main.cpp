#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "audio.h"
#include "frame_writer.h"
#include "options.h"
#include "report.h"
#include "speechpress/error.h"
#include "speechpress/extractor.h"

namespace speechpress {
namespace {

using Clock = std::chrono::steady_clock;

AudioInput open_audio(const Options& options, int64_t sample_rate) {
  if (!options.wav.empty()) return open_wav(options.wav, sample_rate);
  return AudioInput(read_descriptor(STDIN_FILENO), options.format);
}

Frames push_bytes(StreamingExtractor& stream, SampleFormat format, const char* bytes, size_t count) {
  if (format == SampleFormat::kPcm16) {
    return stream.push(reinterpret_cast<const int16_t*>(bytes), count);
  }
  return stream.push(reinterpret_cast<const float*>(bytes), count);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Writes a line for each chunk at once, so that a reader has them all when the connection breaks.
class TimesWriter {
 public:
  TimesWriter(const std::string& path, double load_ms) : load_ms_(load_ms) {
    if (path == "-") return;
    file_.open(path);
    if (!file_) throw Error("cannot write the times to " + path);
  }

  void write(const Frames& frames) {
    double start_s = seconds_since(start_);
    for (const double ms : frames.chunk_ms) start_s -= ms / 1000;
    for (const double ms : frames.chunk_ms) {
      out() << "chunk " << load_ms_ << ' ' << start_s << ' ' << ms << std::endl;
      start_s += ms / 1000;
    }
  }

 private:
  std::ostream& out() { return file_.is_open() ? file_ : std::cout; }

  double load_ms_;
  Clock::time_point start_ = Clock::now();
  std::ofstream file_;
};

/// Hands out pieces as a microphone would: none before its last sample was heard.
class Pace {
 public:
  Pace(bool real, int64_t sample_rate) : real_(real), rate_(static_cast<size_t>(sample_rate)) {}

  size_t piece(size_t count) const { return real_ ? std::min(count, rate_ / kPiecesPerSecond) : count; }

  void wait(size_t count) {
    if (!real_) return;
    heard_ += count;
    const auto due = std::chrono::duration<double>(static_cast<double>(heard_) / static_cast<double>(rate_));
    std::this_thread::sleep_until(start_ + std::chrono::duration_cast<Clock::duration>(due));
  }

 private:
  static constexpr size_t kPiecesPerSecond = 100;
  bool real_;
  size_t rate_, heard_ = 0;
  Clock::time_point start_ = Clock::now();
};

void add_counts(Counts& sum, const Counts& counts) {
  sum.samples += counts.samples;
  sum.replaced += counts.replaced;
  sum.clipped += counts.clipped;
}

void write_events(const Frames& frames) {
  for (const Event& event : frames.events) std::cout << to_json(event) << '\n';
  std::cout.flush();
  if (!std::cout) throw Error("cannot write the events to stdout");
}

/// Hear everything from the beginning to the end, once.
void hear(StreamingExtractor& stream, AudioInput audio, Pace pace, FrameWriter* writer,
          TimesWriter* times, bool events, Report& report) {
  const auto keep = [&](const Frames& frames) {
    if (writer != nullptr) writer->write(frames);
    if (times != nullptr) times->write(frames);
    if (events) write_events(frames);
    report.frames += static_cast<int64_t>(frames.size());
    report.chunk_ms.insert(report.chunk_ms.end(), frames.chunk_ms.begin(), frames.chunk_ms.end());
  };
  stream.reset();
  while (true) {
    const auto& bytes = audio.next();
    if (bytes.empty()) break;
    const size_t size = sample_bytes(audio.format()), samples = bytes.size() / size;
    for (size_t done = 0; done < samples;) {
      const size_t count = pace.piece(samples - done);
      pace.wait(count);
      keep(push_bytes(stream, audio.format(), bytes.data() + done * size, count));
      done += count;
    }
  }
  keep(stream.flush());
  add_counts(report.counts, stream.counts());
}

std::shared_ptr<Engine> load(const Options& options, Report& report) {
  const auto start = Clock::now();
  auto engine = Engine::load(options.program,
                             {options.chunk_frames, options.threads, !options.etdump.empty(),
                              options.unchecked});
  report.load_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  report.threads = engine->threads();
  report.spec = engine->spec();
  return engine;
}

void run(const Options& options) {
  Report report;
  const auto engine = load(options, report);
  StreamingExtractor stream(engine);
  std::optional<FrameWriter> writer;
  if (options.events && engine->heads().empty()) {
    throw Error(options.program + " has no heads, or was loaded without its bundle.json: no events");
  }
  if ((!options.json && !options.events) || !options.out.empty()) {
    const auto format = options.csv ? FrameFormat::kCsv : FrameFormat::kFloat32;
    writer.emplace(options.out, format, report.spec.width);
  }
  std::optional<TimesWriter> times;
  if (!options.times.empty()) times.emplace(options.times, report.load_ms);
  for (int pass = 0; pass < options.repeat; ++pass) {
    AudioInput audio = open_audio(options, report.spec.sample_rate);
    hear(stream, std::move(audio), Pace(options.pace, report.spec.sample_rate),
         pass == 0 && writer ? &*writer : nullptr, times ? &*times : nullptr,
         pass == 0 && options.events, report);
  }
  if (report.counts.replaced > 0) {
    std::cerr << "speechpress-run: " << report.counts.replaced
              << " samples are NaN or infinite and were taken as silence\n";
  }
  if (!options.etdump.empty()) engine->write_etdump(options.etdump);
  (options.json ? std::cout : std::cerr) << to_json(report) << std::endl;
}

}  // namespace
}  // namespace speechpress

int main(int count, char** words) {
  try {
    const auto options = speechpress::parse_options({words + 1, words + count});
    if (options.help) {
      std::cout << speechpress::kUsage;
    } else {
      speechpress::run(options);
    }
  } catch (const speechpress::UsageError& error) {
    std::cerr << "speechpress-run: " << error.what() << "\n\n" << speechpress::kUsage;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "speechpress-run: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
