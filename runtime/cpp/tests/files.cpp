#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "audio.h"
#include "bundle_hash.h"
#include "check.h"
#include "frame_writer.h"
#include "json_text.h"
#include "speechpress/file.h"
#include "speechpress/sha256.h"

namespace speechpress::tests {
namespace {

/// A folder that is gone with what is in it.
class Folder {
 public:
  Folder() {
    std::string name = "/tmp/speechpress-tests-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name + "/";
  }
  ~Folder() {
    for (const auto& name : names_) std::remove((path_ + name).c_str());
    ::rmdir(path_.c_str());
  }

  std::string path(const std::string& name) {
    names_.push_back(name);
    return path_ + name;
  }

  std::string file(const std::string& name, const std::string& content) {
    const std::string whole = path(name);
    std::ofstream(whole, std::ios::binary) << content;
    return whole;
  }

  std::string pipe(const std::string& name) {
    const std::string whole = path(name);
    CHECK(::mkfifo(whole.c_str(), 0600) == 0);
    return whole;
  }

 private:
  std::string path_;
  std::vector<std::string> names_;
};

std::string sha256(const std::string& text, size_t piece) {
  Sha256 sha256;
  for (size_t start = 0; start < text.size(); start += piece) {
    const auto part = text.substr(start, piece);
    sha256.update(reinterpret_cast<const unsigned char*>(part.data()), part.size());
  }
  return sha256.hex();
}

// Those of FIPS 180-4, and around the end of a block.
void sha256_of_known_texts() {
  for (const size_t piece : {1, 7, 64, 100, 1000000}) {
    CHECK(sha256("abc", piece) ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", piece) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256("", piece) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256(std::string(64, 'a'), piece) ==
          "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  }
  CHECK(sha256(std::string(1000000, 'a'), 999) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

void json_is_walked_to_a_text() {
  const std::string json =
      "{\"a\": [1, -2.5e3, true, null, {\"files\": \"no\"}], \"\\\"b}\\\\\": {}, \"c\": [],\n"
      "\"files\": {\"x.pte\": {\"size_bytes\": 3, \"sha256\": \"abc\"}}}";
  CHECK(text_at(json, {"files", "x.pte", "sha256"}) == "abc");
  check_throws([&] { text_at(json, {"files", "y.pte", "sha256"}); }, "no \"y.pte\"");
  check_throws([&] { text_at(json, {"files", "x.pte", "size_bytes"}); }, "no '\"'");
  check_throws([&] { text_at(json, {"c", "x"}); }, "no '{'");
  for (size_t end = 0; end < json.size() - 8; ++end) {
    check_throws([&] { text_at(json.substr(0, end), {"files", "x.pte", "sha256"}); }, "");
  }
  const std::string deep = "{\"a\": " + std::string(100000, '[');
  check_throws([&] { text_at(deep, {"files"}); }, "nested too deep");
  check_throws([] { text_at("{\"a\": ,\"files\": 1}", {"files"}); }, "lacks a value");
}

void a_program_is_held_against_its_hash() {
  Folder folder;
  const std::string program = folder.file("encoder.pte", "abc");
  check_throws([&] { check_hash(program); }, "bundle.json to hold");
  const std::string before = "{\"files\": {\"encoder.pte\": {\"sha256\": \"";
  const std::string good = sha256("abc", 3);
  folder.file("bundle.json", before + good + "\"}}}");
  check_hash(program);
  for (int bit = 0; bit < 24; ++bit) {
    std::string flipped = "abc";
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    folder.file("encoder.pte", flipped);
    check_throws([&] { check_hash(program); }, "is damaged or was replaced");
  }
  folder.file("bundle.json", "{\"files\": {\"other.pte\": {}}}");
  check_throws([&] { check_hash(program); }, "it has no \"encoder.pte\"");
}

void pipes_are_not_waited_for() {
  Folder folder;
  const std::string pipe = folder.pipe("pipe");
  check_throws([&] { read_file(pipe); }, "is a pipe, a device or a folder");
  check_throws([&] { open_wav(pipe, 16000); }, "is a pipe");
  check_throws([] { File("/"); }, "is a pipe, a device or a folder");
  check_throws([] { File("/dev/null"); }, "is a pipe, a device or a folder");
  check_throws([] { File("/no/such/file"); }, "No such file");
}

void no_frames_are_nothing_to_write() {
  Folder folder;
  const std::string path = folder.path("frames");
  for (const auto format : {FrameFormat::kFloat32, FrameFormat::kCsv}) {
    {
      FrameWriter writer(path, format, 2);
      writer.write({});
      writer.write({{1.0f, 2.0f}, {0.025}, {}, {}});
      writer.write({});
    }
    const auto written = File(path).read_all(1000);
    CHECK(written.size() == (format == FrameFormat::kCsv ? 31u : 8u));
  }
}

}  // namespace

std::vector<Test> tests_of_files() {
  return {
      {"SHA-256", sha256_of_known_texts},
      {"JSON", json_is_walked_to_a_text},
      {"hashes of programs", a_program_is_held_against_its_hash},
      {"pipes", pipes_are_not_waited_for},
      {"no frames", no_frames_are_nothing_to_write},
  };
}

}  // namespace speechpress::tests
