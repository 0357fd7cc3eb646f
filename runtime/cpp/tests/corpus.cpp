#include "corpus.h"

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "answers/heads.h"
#include "audio.h"
#include "json_text.h"
#include "speechpress/chunk_buffer.h"
#include "speechpress/engine.h"
#include "speechpress/file.h"

namespace speechpress::tests {
namespace {

constexpr int64_t kAnyRate = 16000;
constexpr size_t kMostText = size_t{1} << 24;

void hear_wav(const std::string& path) {
  AudioInput input = open_wav(path, kAnyRate);
  ChunkBuffer buffer(1000, 0);
  while (true) {
    const auto& bytes = input.next();
    if (bytes.empty()) return;
    const size_t count = bytes.size() / sample_bytes(input.format());
    if (input.format() == SampleFormat::kPcm16) {
      buffer.fill(reinterpret_cast<const int16_t*>(bytes.data()), count);
    } else {
      buffer.fill(reinterpret_cast<const float*>(bytes.data()), count);
    }
    buffer.clear();
  }
}

void read_file_as(const std::string& extension, const std::string& path) {
  if (extension == ".wav") return hear_wav(path);
  if (extension == ".pte") {
    Engine::load(path, {0, 1, false, false});
  } else {
    const std::string text = File(path).read_all(kMostText);
    text_at(text, {"files", "encoder.pte", "sha256"});
    read_heads(text);
  }
}

}  // namespace

void read_corpus(const std::string& folder, std::ostream& out) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() != "bundle.json") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    out << path.filename().string() << std::flush;  // who kills the process is known by it
    try {
      read_file_as(path.extension().string(), path.string());
      out << " taken\n";
    } catch (const Error& error) {
      out << " refused: " << error.what() << "\n";
    }
  }
}

}  // namespace speechpress::tests
