#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace speechpress {

enum class SampleFormat { kFloat32, kPcm16 };

size_t sample_bytes(SampleFormat format);

/// Reads up to so many bytes; how many it read, and 0 only at the end.
using ReadBytes = std::function<size_t(char*, size_t)>;

/// Bytes of a file descriptor, as they come.
ReadBytes read_descriptor(int descriptor);

/// Bytes of a file. Throws Error when it cannot be opened.
ReadBytes read_file(const std::string& path);

constexpr uint64_t kUnknownBytes = UINT64_MAX;

struct WavHeader {
  SampleFormat format;
  int64_t sample_rate;
  uint64_t data_bytes;  // kUnknownBytes when whoever wrote the file could not go back and tell
};

/// Read up to the first sample. Throws Error for anything but mono PCM of 16 bits or floats of 32.
WavHeader read_wav_header(const ReadBytes& read);

/// A sequence of samples that comes in pieces.
class AudioInput {
 public:
  AudioInput(ReadBytes read, SampleFormat format, uint64_t bytes = kUnknownBytes);

  SampleFormat format() const { return format_; }

  /// The bytes of the next samples, always whole ones; empty at the end. They are valid until the
  /// next call. Throws Error when the audio ends too early or within a sample.
  const std::vector<char>& next();

 private:
  void check_end() const;

  ReadBytes read_;
  SampleFormat format_;
  uint64_t left_bytes_;
  std::vector<char> piece_;
  std::vector<char> rest_;  // of a sample whose other bytes are still to come
};

/// Throws Error when the file is no wav file at this rate.
AudioInput open_wav(const std::string& path, int64_t sample_rate);

}  // namespace speechpress
