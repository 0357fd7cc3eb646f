#include "thread_pool.h"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "speechpress/error.h"

#if __has_include(<executorch/extension/threadpool/threadpool.h>)
#include <executorch/extension/threadpool/threadpool.h>
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#else
// The wheel ships the library without its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool
#endif

namespace speechpress {
namespace {

using executorch::extension::threadpool::get_threadpool;

// More than a device has, and far from what ends a process for want of memory.
constexpr int kMostThreads = 256;

// Of the process, because the pool is.
struct Claims {
  std::mutex mutex;
  int alive = 0;
};

Claims& claims() {
  static Claims claims;
  return claims;
}

void check_threads(int threads) {
  if (threads < 0 || threads > kMostThreads) {
    throw Error("the number of threads is " + std::to_string(threads) + ", but must be at most " +
                std::to_string(kMostThreads));
  }
}

}  // namespace

int pool_threads() {
  return static_cast<int>(get_threadpool()->get_thread_count());
}

void reset_pool(int threads) {
  check_threads(threads);
  // A reset makes new threads, also for the same count.
  if (threads > 0 && threads != pool_threads()) {
    get_threadpool()->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
  }
}

ThreadPoolClaim::ThreadPoolClaim(int threads) {
  check_threads(threads);
  const std::lock_guard<std::mutex> lock(claims().mutex);
  if (threads > 0 && threads != pool_threads()) {
    if (claims().alive > 0) {
      throw Error("ExecuTorch's pool has " + std::to_string(pool_threads()) +
                  " threads and is in use, " + "so it cannot be given " + std::to_string(threads));
    }
    reset_pool(threads);
  }
  threads_ = pool_threads();
  ++claims().alive;
}

ThreadPoolClaim::~ThreadPoolClaim() {
  const std::lock_guard<std::mutex> lock(claims().mutex);
  --claims().alive;
}

}  // namespace speechpress
