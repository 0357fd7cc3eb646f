#include "speechpress/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "speechpress/error.h"

namespace speechpress {

// Opening a pipe waits for its writer unless told not to; whether it is one is seen once it is open.
File::File(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) throw Error("cannot open " + path + ": " + std::strerror(errno));
  struct stat facts {};
  if (::fstat(descriptor_, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ::close(descriptor_);
    throw Error(path + " is a pipe, a device or a folder, but must be a file");
  }
  size_ = static_cast<size_t>(facts.st_size);
}

File::~File() {
  ::close(descriptor_);
}

size_t File::read(char* bytes, size_t count) const {
  ssize_t got;
  do {
    got = ::read(descriptor_, bytes, count);
  } while (got < 0 && errno == EINTR);
  if (got < 0) throw Error("cannot read " + path_ + ": " + std::strerror(errno));
  return static_cast<size_t>(got);
}

std::string File::read_all(size_t most) const {
  if (size_ > most) throw Error(path_ + " is larger than it can be");
  std::string bytes(size_, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t got = read(bytes.data() + done, bytes.size() - done);
    if (got == 0) break;
    done += got;
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace speechpress
