#include "audio.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "speechpress/error.h"
#include "speechpress/file.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "samples are taken as they lie in memory, which must be little-endian"
#endif

namespace speechpress {
namespace {

constexpr size_t kPieceBytes = 16 * 1024;
constexpr uint16_t kPcm = 1, kFloat = 3, kExtensible = 0xFFFE;
constexpr size_t kFormatBytes = 16, kExtensibleBytes = 26;

/// As many bytes as there are, up to `count`.
size_t read_all(const ReadBytes& read, char* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    const size_t got = read(bytes + done, count - done);
    if (got == 0) break;
    done += got;
  }
  return done;
}

std::string read_exactly(const ReadBytes& read, size_t count) {
  std::string bytes(count, '\0');
  if (read_all(read, bytes.data(), count) < count) {
    throw Error("the wav file ends before its samples begin");
  }
  return bytes;
}

template <typename Number>
Number number_at(const std::string& bytes, size_t offset) {
  Number number;
  std::memcpy(&number, bytes.data() + offset, sizeof(number));
  return number;
}

void skip(const ReadBytes& read, uint64_t count) {
  while (count > 0) count -= read_exactly(read, std::min<uint64_t>(count, kPieceBytes)).size();
}

WavHeader parse_format(const std::string& chunk) {
  const auto channels = number_at<uint16_t>(chunk, 2);
  const auto bits = number_at<uint16_t>(chunk, 14);
  auto coding = number_at<uint16_t>(chunk, 0);
  // Behind the word "extensible", the coding is the beginning of a longer name.
  if (coding == kExtensible && chunk.size() >= kExtensibleBytes) {
    coding = number_at<uint16_t>(chunk, 24);
  }
  const bool pcm16 = coding == kPcm && bits == 16, float32 = coding == kFloat && bits == 32;
  if (!pcm16 && !float32) {
    throw Error("the wav file's samples have coding " + std::to_string(coding) + " with " +
                std::to_string(bits) + " bits, but must be PCM of 16 bits or floats of 32");
  }
  if (channels != 1) {
    throw Error("the wav file has " + std::to_string(channels) + " channels, but must be mono");
  }
  return {pcm16 ? SampleFormat::kPcm16 : SampleFormat::kFloat32, number_at<uint32_t>(chunk, 4), 0};
}

/// Writers that stream put 0 or the largest numbers there.
uint64_t data_bytes(uint32_t stated) {
  constexpr uint32_t kLargestSensible = 0x7FFFF000;
  return stated == 0 || stated >= kLargestSensible ? kUnknownBytes : stated;
}

}  // namespace

size_t sample_bytes(SampleFormat format) {
  return format == SampleFormat::kPcm16 ? 2 : 4;
}

ReadBytes read_descriptor(int descriptor) {
  return [descriptor](char* bytes, size_t count) {
    ssize_t got;
    do {
      got = ::read(descriptor, bytes, count);
    } while (got < 0 && errno == EINTR);
    if (got < 0) throw Error(std::string("cannot read the audio: ") + std::strerror(errno));
    return static_cast<size_t>(got);
  };
}

ReadBytes read_file(const std::string& path) {
  return [file = std::make_shared<File>(path)](char* bytes, size_t count) {
    return file->read(bytes, count);
  };
}

WavHeader read_wav_header(const ReadBytes& read) {
  const std::string head = read_exactly(read, 12);
  if (head.substr(0, 4) != "RIFF" || head.substr(8) != "WAVE") {
    throw Error("this is no wav file: it does not begin with RIFF and WAVE");
  }
  WavHeader header{SampleFormat::kPcm16, 0, 0};
  while (true) {
    const std::string chunk = read_exactly(read, 8);
    const std::string name = chunk.substr(0, 4);
    const auto size = number_at<uint32_t>(chunk, 4);
    if (name == "data") {
      if (header.sample_rate == 0)
        throw Error("the wav file does not say how its samples are coded");
      header.data_bytes = data_bytes(size);
      return header;
    }
    uint64_t rest = size + uint64_t{size % 2};  // chunks begin at even places
    if (name == "fmt " && size >= kFormatBytes) {
      const size_t taken = std::min<uint64_t>(size, kExtensibleBytes);
      header = parse_format(read_exactly(read, taken));
      rest -= taken;
    }
    skip(read, rest);
  }
}

AudioInput::AudioInput(ReadBytes read, SampleFormat format, uint64_t bytes)
    : read_(std::move(read)), format_(format), left_bytes_(bytes) {}

const std::vector<char>& AudioInput::next() {
  const size_t unit = sample_bytes(format_);
  piece_ = std::exchange(rest_, {});
  while (piece_.size() < unit) {
    const size_t before = piece_.size();
    const size_t wanted = std::min<uint64_t>(kPieceBytes, left_bytes_);
    piece_.resize(before + wanted);
    const size_t got = wanted > 0 ? read_(piece_.data() + before, wanted) : 0;
    piece_.resize(before + got);
    if (left_bytes_ != kUnknownBytes) left_bytes_ -= got;
    if (got == 0) {
      check_end();
      return piece_;
    }
  }
  const size_t whole = piece_.size() / unit * unit;
  rest_.assign(piece_.begin() + static_cast<std::ptrdiff_t>(whole), piece_.end());
  piece_.resize(whole);
  return piece_;
}

void AudioInput::check_end() const {
  if (left_bytes_ != kUnknownBytes && left_bytes_ > 0) {
    throw Error("the audio ends " + std::to_string(left_bytes_) + " bytes before its header says");
  }
  if (!piece_.empty()) {
    throw Error("the audio ends in the middle of a sample; is it really " +
                std::string(format_ == SampleFormat::kPcm16 ? "16-bit PCM" : "32-bit float") + "?");
  }
}

AudioInput open_wav(const std::string& path, int64_t sample_rate) {
  const ReadBytes read = read_file(path);
  const WavHeader header = read_wav_header(read);
  if (header.sample_rate != sample_rate) {
    throw Error("the wav file has " + std::to_string(header.sample_rate) + " Hz, but must have " +
                std::to_string(sample_rate) + ": resample it first");
  }
  return AudioInput(read, header.format, header.data_bytes);
}

}  // namespace speechpress
