#pragma once

namespace speechpress {

/// Threads of ExecuTorch's pool.
int pool_threads();

/// Give the pool another number of threads, whoever holds on to it: not while a program runs. Throws Error when it is
/// no number of threads.
void reset_pool(int threads);

/// A claim on ExecuTorch's thread pool, of which a process has but one. A loaded program holds on
/// to the pool's threads, so their number can only change while no claim is alive.
class ThreadPoolClaim {
 public:
  /// `threads` 0 takes the pool as it is. Throws Error when others use it with another number.
  explicit ThreadPoolClaim(int threads);
  ~ThreadPoolClaim();
  ThreadPoolClaim(const ThreadPoolClaim&) = delete;
  ThreadPoolClaim& operator=(const ThreadPoolClaim&) = delete;

  int threads() const { return threads_; }

 private:
  int threads_;
};

}  // namespace speechpress
