#include "threads.h"

namespace {

constexpr int kLooks = 1000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// Whoever is about to sleep first counts itself and then looks once more; whoever advances does it the other way round.
void Signal::advance() {
  value_.fetch_add(1);
  if (sleepers_.load() == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  changed_.notify_all();
}

void Signal::wait_beyond(uint32_t seen) {
  for (int look = 0; look < kLooks; ++look) {
    if (value() != seen) return;
    pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  ++sleepers_;
  changed_.wait(lock, [&] { return value_.load() != seen; });
  --sleepers_;
}

void Barrier::wait() {
  const uint32_t turn = passed_.value();
  if (arrived_.fetch_add(1) + 1 < size_) return passed_.wait_beyond(turn);
  arrived_.store(0);
  passed_.advance();
}

Pool::Pool(int64_t size) : size_(size), barrier_(size) {
  try {
    for (int64_t rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::run(const Work& work) {
  work_ = &work;
  if (size_ > 1) started_.advance();
  const Team team{0, size_, &barrier_};
  work(team);
  team.wait();
}

void Pool::serve(int64_t rank) {
  const Team team{rank, size_, &barrier_};
  for (uint32_t seen = 0;; ++seen) {
    started_.wait_beyond(seen);
    if (work_ == nullptr) return;
    (*work_)(team);
    team.wait();
  }
}

void Pool::stop() {
  work_ = nullptr;
  started_.advance();
  for (std::thread& thread : threads_) thread.join();
}
