// The threads of a network. Not OpenMP's: a slim container has no libgomp, and a process may have two of them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

// A counter to wait for: a wait looks for some 50 microseconds, which is more than a step takes, and then sleeps.
class Signal {
 public:
  uint32_t value() const { return value_.load(std::memory_order_acquire); }
  void advance();
  void wait_beyond(uint32_t seen);

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

class Barrier {
 public:
  explicit Barrier(int64_t size) : size_(size) {}
  void wait();

 private:
  const int64_t size_;
  std::atomic<int64_t> arrived_{0};
  Signal passed_;
};

// The threads that share some work, and this one's place among them.
struct Team {
  int64_t rank, size;
  Barrier* barrier;

  void wait() const {
    if (size > 1) barrier->wait();
  }
  // Each takes a part of `count`, by `count` alone; all are ready when it returns.
  template <typename Work>
  void share(int64_t count, Work work) const {
    for (int64_t i = count * rank / size; i < count * (rank + 1) / size; ++i) work(i);
    wait();
  }
};

class Pool {
 public:
  using Work = std::function<void(const Team&)>;

  // Raises std::system_error: the system gives no more threads.
  explicit Pool(int64_t size);
  ~Pool();
  int64_t size() const { return size_; }
  // Calls `work`, which must not raise, once per thread, this one among them.
  void run(const Work& work);

 private:
  void serve(int64_t rank);
  void stop();

  const int64_t size_;
  Barrier barrier_;
  Signal started_;
  const Work* work_ = nullptr;  // none: the end
  std::vector<std::thread> threads_;
};
