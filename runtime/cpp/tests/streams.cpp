#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "audio.h"
#include "check.h"
#include "speechpress/extractor.h"

namespace speechpress::tests {
namespace {

std::vector<float> read_samples(const std::string& path) {
  AudioInput input(read_file(path), SampleFormat::kFloat32);
  std::vector<float> samples;
  while (true) {
    const auto& bytes = input.next();
    if (bytes.empty()) return samples;
    const size_t before = samples.size();
    samples.resize(before + bytes.size() / sizeof(float));
    std::memcpy(samples.data() + before, bytes.data(), bytes.size());
  }
}

void append(Frames& all, const Frames& more) {
  all.values.insert(all.values.end(), more.values.begin(), more.values.end());
  all.end_s.insert(all.end_s.end(), more.end_s.begin(), more.end_s.end());
}

bool same(const Frames& one, const Frames& other) {
  return one.values == other.values && one.end_s == other.end_s;
}

Frames hear(StreamingExtractor& stream, const std::vector<float>& samples, size_t piece) {
  Frames all;
  for (size_t start = 0; start < samples.size(); start += piece) {
    append(all, stream.push(samples.data() + start, std::min(piece, samples.size() - start)));
  }
  append(all, stream.flush());
  return all;
}

Frames hear_anew(const std::shared_ptr<Engine>& engine, const std::vector<float>& samples,
                 size_t piece) {
  StreamingExtractor stream(engine);
  return hear(stream, samples, piece);
}

/// One loaded program and some audio, which all tests share.
class Streams {
 public:
  Streams(const std::string& program, const std::string& audio)
      : program_(program),
        samples_(read_samples(audio)),
        engine_(Engine::load(program, {0, 1, false})) {}

  void pieces_of_any_size() const {
    const Frames whole = hear_anew(engine_, samples_, samples_.size());
    const auto heard = static_cast<int64_t>(samples_.size());
    CHECK(static_cast<int64_t>(whole.size()) == engine_->spec().frames(heard));
    for (const size_t piece : {1, 79, 320, 5000}) {
      CHECK(same(hear_anew(engine_, samples_, piece), whole));
    }
  }

  void short_streams() const {
    const auto& spec = engine_->spec();
    const auto field = static_cast<size_t>(spec.receptive_samples);
    for (const size_t count : {size_t{0}, size_t{1}, field - 1, field, field + 1}) {
      const std::vector<float> few(samples_.begin(), samples_.begin() + count);
      const auto wanted = static_cast<size_t>(spec.frames(static_cast<int64_t>(count)));
      CHECK(hear_anew(engine_, few, 100).size() == wanted);
    }
  }

  void reset_starts_anew() const {
    StreamingExtractor stream(engine_);
    const Frames first = hear(stream, samples_, 1000);
    check_throws([&] { stream.push(samples_.data(), 1); }, "call reset()");
    check_throws([&] { stream.flush(); }, "call reset()");
    stream.reset();
    CHECK(stream.counts().samples == 0);
    CHECK(same(hear(stream, samples_, 700), first));
    stream.reset();
    stream.push(samples_.data(), samples_.size() / 2);
    stream.reset();
    CHECK(same(hear(stream, samples_, samples_.size()), first));
  }

  void interleaved_streams_do_not_touch() const {
    const std::vector<float> reversed(samples_.rbegin(), samples_.rend());
    StreamingExtractor one(engine_), two(engine_);
    Frames of_one, of_two;
    for (size_t start = 0; start < samples_.size(); start += 700) {
      const size_t count = std::min<size_t>(700, samples_.size() - start);
      append(of_one, one.push(samples_.data() + start, count));
      append(of_two, two.push(reversed.data() + start, count));
    }
    append(of_one, one.flush());
    append(of_two, two.flush());
    CHECK(same(of_one, hear_anew(engine_, samples_, 1000)));
    CHECK(same(of_two, hear_anew(engine_, reversed, 1000)));
  }

  void streams_in_threads_do_not_touch() const {
    const Frames wanted = hear_anew(engine_, samples_, 1000);
    std::vector<Frames> results(3);
    std::vector<std::thread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] { result = hear_anew(engine_, samples_, 500); });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& result : results) CHECK(same(result, wanted));
  }

  void bad_samples_are_silence() const {
    std::vector<float> silent = samples_, bad = samples_;
    for (size_t i = 100; i < samples_.size(); i += 1000) {
      silent[i] = 0.0f;
      bad[i] = i % 2000 == 100 ? std::numeric_limits<float>::quiet_NaN()
                               : std::numeric_limits<float>::infinity();
    }
    StreamingExtractor stream(engine_);
    CHECK(same(hear(stream, bad, 1000), hear_anew(engine_, silent, 1000)));
    CHECK(stream.counts().replaced == static_cast<int64_t>((samples_.size() + 899) / 1000));
  }

  void threads_cannot_change_while_a_program_uses_them() const {
    CHECK(engine_->threads() == 1);
    CHECK(Engine::load(program_, {0, 0, false})->threads() == 1);
    check_throws([&] { Engine::load(program_, {0, 2, false}); }, "is in use");
  }

  void traces_only_when_told() const {
    check_throws([&] { engine_->write_etdump("unused"); }, "nothing was traced");
  }

 private:
  std::string program_;
  std::vector<float> samples_;
  std::shared_ptr<Engine> engine_;
};

}  // namespace

std::vector<Test> tests_of_streams(const std::string& program, const std::string& audio) {
  const auto streams = std::make_shared<const Streams>(program, audio);
  const auto test = [streams](const char* name, void (Streams::*method)() const) {
    return Test{name, [streams, method] { ((*streams).*method)(); }};
  };
  return {
      test("pieces of any size", &Streams::pieces_of_any_size),
      test("short streams", &Streams::short_streams),
      test("reset", &Streams::reset_starts_anew),
      test("interleaved streams", &Streams::interleaved_streams_do_not_touch),
      test("streams in threads", &Streams::streams_in_threads_do_not_touch),
      test("bad samples in a stream", &Streams::bad_samples_are_silence),
      test("threads of the pool", &Streams::threads_cannot_change_while_a_program_uses_them),
      test("traces", &Streams::traces_only_when_told),
  };
}

}  // namespace speechpress::tests
