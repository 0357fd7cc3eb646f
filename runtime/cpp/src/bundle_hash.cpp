#include "bundle_hash.h"

#include <sys/stat.h>

#include <array>

#include "answers/heads.h"
#include "json_text.h"
#include "speechpress/error.h"
#include "speechpress/file.h"
#include "speechpress/sha256.h"

namespace speechpress {
namespace {

constexpr size_t kMostDocumentBytes = size_t{64} << 20;

std::string sha256_of(const File& file) {
  Sha256 sha256;
  std::array<char, 64 * 1024> piece;
  while (const size_t count = file.read(piece.data(), piece.size())) {
    sha256.update(reinterpret_cast<const unsigned char*>(piece.data()), count);
  }
  return sha256.hex();
}

/// What `read` gives; its errors say which document it is.
template <typename Read>
auto readable(const std::string& document, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(document + " cannot be read (" + error.what() + "); copy the bundle again");
  }
}

std::string document_of(const std::string& program) {
  const size_t slash = program.rfind('/');
  return (slash == std::string::npos ? "" : program.substr(0, slash + 1)) + "bundle.json";
}

}  // namespace

std::string check_hash(const std::string& program) {
  const File file(program);
  const std::string document = document_of(program);
  struct stat facts {};
  if (::stat(document.c_str(), &facts) != 0) {
    throw Error("there is no " + document + " to hold " + program +
                " against: copy the whole bundle, or say that it shall not be checked");
  }
  const std::string text = readable(document, [&] { return File(document).read_all(kMostDocumentBytes); });
  const std::string name = program.substr(document.size() - std::string("bundle.json").size());
  const auto stated = readable(document, [&] { return text_at(text, {"files", name, "sha256"}); });
  if (sha256_of(file) != stated) {
    throw Error(program + " is damaged or was replaced: its sha256 is not that in " + document +
                "; copy the bundle again");
  }
  return text;
}

std::vector<HeadSpec> heads_of(const std::string& document, const std::string& program) {
  return readable(document_of(program), [&] { return read_heads(document); });
}

}  // namespace speechpress
