#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "audio.h"
#include "check.h"
#include "options.h"
#include "report.h"
#include "speechpress/chunk_buffer.h"
#include "speechpress/stream_spec.h"

namespace speechpress::tests {
namespace {

const StreamSpec kHubert{16, 768, 16000, 320, 400, 0};

template <typename Number>
std::string bytes_of(Number number) {
  return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
}

/// Bytes that come at most `most` at a time.
ReadBytes from_memory(std::string bytes, size_t most = 1000) {
  return [bytes, most, place = size_t{0}](char* out, size_t count) mutable {
    const size_t got = std::min({count, most, bytes.size() - place});
    std::memcpy(out, bytes.data() + place, got);
    place += got;
    return got;
  };
}

std::string chunk(const std::string& name, const std::string& content) {
  return name + bytes_of(static_cast<uint32_t>(content.size())) + content +
         std::string(content.size() % 2, '\0');
}

std::string format_chunk(uint16_t coding, uint16_t channels, uint16_t bits,
                         const std::string& more = "") {
  return chunk("fmt ", bytes_of(coding) + bytes_of(channels) + bytes_of(uint32_t{16000}) +
                           bytes_of(uint32_t{16000u * channels * bits / 8}) +
                           bytes_of(static_cast<uint16_t>(channels * bits / 8)) + bytes_of(bits) +
                           more);
}

std::string wav(const std::string& chunks) {
  return chunk("RIFF", "WAVE" + chunks);
}

std::string all_of(AudioInput input) {
  std::string all;
  while (true) {
    const auto& piece = input.next();
    if (piece.empty()) return all;
    CHECK(piece.size() % sample_bytes(input.format()) == 0);
    all.append(piece.begin(), piece.end());
  }
}

void spec_of_hubert() {
  CHECK(kHubert.lead_frames() == 1 && kHubert.silence_samples() == 240);
  CHECK(kHubert.first_frame() == -1 && kHubert.chunk_ms() == 320.0);
  CHECK(kHubert.frames(0) == 0 && kHubert.frames(399) == 0);
  CHECK(kHubert.frames(400) == 1 && kHubert.frames(719) == 1 && kHubert.frames(720) == 2);
  CHECK(kHubert.end_s(0) == 0.025 && kHubert.worst_age_ms() == 325.0);
}

void spec_without_overlap() {
  const StreamSpec spec{4, 8, 16000, 320, 200, 3};
  CHECK(spec.lead_frames() == 0 && spec.silence_samples() == 0 && spec.first_frame() == -3);
  CHECK(spec.frames(199) == 0 && spec.frames(200) == 1 && spec.frames(520) == 2);
}

void chunks_begin_with_silence_and_take_what_they_have_room_for() {
  ChunkBuffer buffer(10, 4);
  const std::vector<float> samples = {1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(buffer.fill(samples.data(), 2) == 2 && !buffer.full());
  CHECK(buffer.fill(samples.data() + 2, 6) == 4 && buffer.full());
  const std::vector<float> wanted = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6};
  CHECK(std::equal(wanted.begin(), wanted.end(), buffer.data()));
  CHECK(buffer.fill(samples.data(), 1) == 0 && buffer.counts().samples == 6);
  buffer.clear();
  CHECK(buffer.fill(samples.data(), 8) == 8);
  buffer.pad();
  CHECK(buffer.full() && buffer.data()[7] == 8 && buffer.data()[8] == 0);
  CHECK(buffer.counts().samples == 14);
}

void bad_samples_are_silence_and_counted() {
  ChunkBuffer buffer(6, 0);
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> samples = {std::nanf(""), inf, -inf, 1.0f, -2.0f, 0.5f};
  buffer.fill(samples.data(), samples.size());
  const std::vector<float> wanted = {0, 0, 0, 1.0f, -2.0f, 0.5f};
  CHECK(std::equal(wanted.begin(), wanted.end(), buffer.data()));
  CHECK(buffer.counts().replaced == 3 && buffer.counts().clipped == 2);
}

void what_no_audio_reaches_is_clipped_and_counted() {
  ChunkBuffer buffer(5, 0);
  const std::vector<float> samples = {1e38f, -3e38f, 2147483648.0f, 2e9f, 0.5f};
  buffer.fill(samples.data(), samples.size());
  const std::vector<float> wanted = {2147483648.0f, -2147483648.0f, 2147483648.0f, 2e9f, 0.5f};
  CHECK(std::equal(wanted.begin(), wanted.end(), buffer.data()));
  CHECK(buffer.counts().replaced == 0 && buffer.counts().clipped == 4);
}

void pcm16_is_scaled_by_its_full_scale() {
  ChunkBuffer buffer(4, 0);
  const std::vector<int16_t> samples = {-32768, 32767, 16384, -1};
  buffer.fill(samples.data(), samples.size());
  const std::vector<float> wanted = {-1.0f, 32767.0f / 32768, 0.5f, -1.0f / 32768};
  CHECK(std::equal(wanted.begin(), wanted.end(), buffer.data()));
  CHECK(buffer.counts().clipped == 2);
}

void wav_headers_of_all_kinds() {
  const std::string data = chunk("data", "abcd");
  const auto pcm = read_wav_header(from_memory(wav(format_chunk(1, 1, 16) + data), 1));
  CHECK(pcm.format == SampleFormat::kPcm16 && pcm.sample_rate == 16000 && pcm.data_bytes == 4);
  const auto floats =
      read_wav_header(from_memory(wav(chunk("LIST", "odd") + format_chunk(3, 1, 32) + data)));
  CHECK(floats.format == SampleFormat::kFloat32 && floats.data_bytes == 4);
  const std::string name = bytes_of(uint16_t{3}) + std::string(14, '\x42');
  const std::string more = bytes_of(uint16_t{22}) + std::string(6, '\0') + name;
  const auto extensible =
      read_wav_header(from_memory(wav(format_chunk(0xFFFE, 1, 32, more) + data)));
  CHECK(extensible.format == SampleFormat::kFloat32 && extensible.data_bytes == 4);
  for (const uint32_t unknown : {0u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    const std::string open = "data" + bytes_of(unknown) + "abcd";
    CHECK(read_wav_header(from_memory(wav(format_chunk(1, 1, 16) + open))).data_bytes ==
          kUnknownBytes);
  }
}

void wrong_wav_files_say_what_is_wrong() {
  const auto says = [](const std::string& bytes, const std::string& part) {
    check_throws([&] { read_wav_header(from_memory(bytes)); }, part);
  };
  const std::string data = chunk("data", "abcd");
  says("fLaC and so on and on", "no wav file");
  says("", "ends before");
  says(wav(format_chunk(1, 2, 16) + data), "2 channels, but must be mono");
  says(wav(format_chunk(1, 1, 24) + data), "24 bits");
  says(wav(format_chunk(7, 1, 8) + data), "coding 7 with 8 bits");
  says(wav(data), "does not say how");
  says(wav(format_chunk(1, 1, 16)), "ends before");
}

void audio_comes_in_whole_samples() {
  const std::string bytes = "abcdefghijkl";
  for (const size_t most : {1, 3, 5, 100}) {
    CHECK(all_of(AudioInput(from_memory(bytes, most), SampleFormat::kFloat32)) == bytes);
    CHECK(all_of(AudioInput(from_memory(bytes, most), SampleFormat::kPcm16)) == bytes);
    CHECK(all_of(AudioInput(from_memory(bytes, most), SampleFormat::kPcm16, 6)) == "abcdef");
  }
  CHECK(all_of(AudioInput(from_memory(""), SampleFormat::kPcm16)).empty());
}

void audio_that_ends_too_early() {
  check_throws([] { all_of(AudioInput(from_memory("abcde"), SampleFormat::kFloat32)); },
               "middle of a sample; is it really 32-bit float?");
  check_throws([] { all_of(AudioInput(from_memory("abcd"), SampleFormat::kPcm16, 10)); },
               "6 bytes before its header says");
}

void options_are_checked() {
  const auto options =
      parse_options({"a.pte", "--chunk-frames", "4", "--csv", "--format", "s16", "--out", "x"});
  CHECK(options.program == "a.pte" && options.chunk_frames == 4 && options.csv);
  CHECK(options.format == SampleFormat::kPcm16 && options.out == "x" && !options.json);
  const auto says = [](const std::vector<std::string>& words, const std::string& part) {
    check_throws<UsageError>([&] { parse_options(words); }, part);
  };
  says({}, "which program");
  says({"a.pte", "b.pte"}, "'b.pte' is not understood");
  says({"a.pte", "--chunk"}, "'--chunk' is not understood");
  says({"a.pte", "--threads"}, "--threads needs a value");
  for (const char* wrong : {"0", "-1", "4x", "", "99999999999"}) {
    says({"a.pte", "--threads", wrong}, "whole number");
  }
  says({"a.pte", "--format", "mp3"}, "f32 or s16");
  says({"a.pte", "--repeat", "3"}, "needs --wav");
}

void quantiles_are_numpys() {
  CHECK(quantile({4, 1, 3, 2}, 0.5) == 2.5 && quantile({1, 2, 3, 4}, 1.0) == 4);
  CHECK(std::abs(quantile({1, 2, 3, 4}, 0.9) - 3.7) < 1e-12);
  CHECK(quantile({7}, 0.99) == 7 && std::isnan(quantile({}, 0.5)));
}

void reports_are_json_also_of_nothing() {
  Report report;
  report.spec = kHubert;
  const std::string text = to_json(report);
  CHECK(text.find("\"chunk_ms\": 320,") != std::string::npos);
  CHECK(text.find("\"p50_ms\": null") != std::string::npos);
}

}  // namespace

std::vector<Test> tests_of_parts() {
  return {
      {"spec of HuBERT", spec_of_hubert},
      {"spec without overlap", spec_without_overlap},
      {"chunks", chunks_begin_with_silence_and_take_what_they_have_room_for},
      {"bad samples", bad_samples_are_silence_and_counted},
      {"clipped samples", what_no_audio_reaches_is_clipped_and_counted},
      {"16-bit PCM", pcm16_is_scaled_by_its_full_scale},
      {"wav headers", wav_headers_of_all_kinds},
      {"wrong wav files", wrong_wav_files_say_what_is_wrong},
      {"whole samples", audio_comes_in_whole_samples},
      {"early end", audio_that_ends_too_early},
      {"options", options_are_checked},
      {"quantiles", quantiles_are_numpys},
      {"report", reports_are_json_also_of_nothing},
  };
}

}  // namespace speechpress::tests
