#include "bundle_hash.h"

#include <sys/stat.h>

#include <array>

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

std::string stated_hash(const std::string& document, const std::string& name) {
  try {
    return text_at(File(document).read_all(kMostDocumentBytes), {"files", name, "sha256"});
  } catch (const Error& error) {
    throw Error(document + " cannot be read (" + error.what() + "); copy the bundle again");
  }
}

}  // namespace

void check_hash(const std::string& program) {
  const File file(program);
  const size_t slash = program.rfind('/');
  const size_t start = slash == std::string::npos ? 0 : slash + 1;
  const std::string document = program.substr(0, start) + "bundle.json";
  struct stat facts {};
  if (::stat(document.c_str(), &facts) != 0) {
    throw Error("there is no " + document + " to hold " + program +
                " against: copy the whole bundle, or say that it shall not be checked");
  }
  if (sha256_of(file) != stated_hash(document, program.substr(start))) {
    throw Error(program + " is damaged or was exchanged: its sha256 is not that in " + document +
                "; copy the bundle again");
  }
}

}  // namespace speechpress
