#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "audio.h"
#include "frame_writer.h"
#include "options.h"
#include "report.h"
#include "speechpress/extractor.h"

namespace speechpress {
namespace {

using Clock = std::chrono::steady_clock;

AudioInput open_audio(const Options& options, int64_t sample_rate) {
  if (!options.wav.empty()) return open_wav(options.wav, sample_rate);
  return AudioInput(read_descriptor(STDIN_FILENO), options.format);
}

Frames push_bytes(StreamingExtractor& stream, SampleFormat format, const std::vector<char>& bytes) {
  const size_t count = bytes.size() / sample_bytes(format);
  if (format == SampleFormat::kPcm16) {
    return stream.push(reinterpret_cast<const int16_t*>(bytes.data()), count);
  }
  return stream.push(reinterpret_cast<const float*>(bytes.data()), count);
}

void add_counts(Counts& sum, const Counts& counts) {
  sum.samples += counts.samples;
  sum.replaced += counts.replaced;
  sum.clipped += counts.clipped;
}

/// Hear everything from the beginning to the end, once.
void hear(StreamingExtractor& stream, AudioInput audio, FrameWriter* writer, Report& report) {
  const auto keep = [&](const Frames& frames) {
    if (writer != nullptr) writer->write(frames);
    report.frames += static_cast<int64_t>(frames.size());
    report.chunk_ms.insert(report.chunk_ms.end(), frames.chunk_ms.begin(), frames.chunk_ms.end());
  };
  stream.reset();
  while (true) {
    const auto& bytes = audio.next();
    if (bytes.empty()) break;
    keep(push_bytes(stream, audio.format(), bytes));
  }
  keep(stream.flush());
  add_counts(report.counts, stream.counts());
}

std::shared_ptr<Engine> load(const Options& options, Report& report) {
  const auto start = Clock::now();
  auto engine = Engine::load(options.program,
                             {options.chunk_frames, options.threads, !options.etdump.empty()});
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
  if (!options.json || !options.out.empty()) {
    const auto format = options.csv ? FrameFormat::kCsv : FrameFormat::kFloat32;
    writer.emplace(options.out, format, report.spec.width);
  }
  for (int pass = 0; pass < options.repeat; ++pass) {
    AudioInput audio = open_audio(options, report.spec.sample_rate);
    hear(stream, std::move(audio), pass == 0 && writer ? &*writer : nullptr, report);
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
