// What this library would otherwise take from a newer glibc than ExecuTorch's own libraries need (2.27), though it can
// do without: then a wheel that was built on a new system runs on an old one.

#include <cstddef>  // says whether this is glibc

#if defined(__linux__) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#include <sys/syscall.h>
#include <unistd.h>

struct stat;

extern "C" {

// glibc 2.32: false is always right, and only makes counting references slower.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.33: the kernel's structure is that of glibc on the 64-bit processors that this is built for.
__attribute__((visibility("hidden"))) int fstat(int descriptor, struct stat* facts) noexcept {
  return static_cast<int>(::syscall(SYS_fstat, descriptor, facts));
}
}
#endif
