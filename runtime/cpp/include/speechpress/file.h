#pragma once

#include <cstddef>
#include <string>

namespace speechpress {

/// A file that is open for reading, and is a file: a pipe would wait for a writer for ever.
class File {
 public:
  /// Throws Error: it cannot be opened, or is a pipe, a device or a folder.
  explicit File(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// As many bytes as there are, up to `count`; none at the end. Throws Error when it fails.
  size_t read(char* bytes, size_t count) const;

  /// All of it. Throws Error when it has more than `most` bytes.
  std::string read_all(size_t most) const;

  size_t size() const { return size_; }

 private:
  std::string path_;
  int descriptor_;
  size_t size_ = 0;
};

}  // namespace speechpress
