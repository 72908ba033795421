// The functions that Python calls by ctypes; see network.py.

#include <unistd.h>

#include <atomic>
#include <cstdio>

#include "network.h"

namespace {

constexpr int64_t kMostThreads = 1024, kLongestSide = 1 << 16;

// Of one process. A child of a fork has none of its parent's threads, and a lock may be held there for ever: it makes
// a state of its own and leaves the other as it is.
struct State {
  const pid_t process = getpid();
  std::mutex running;
  std::unique_ptr<Pool> pool;
  Memory memory;
};

struct Handle {
  std::shared_ptr<const Network> network;
  std::atomic<State*> state{nullptr};

  State& own_state() {
    State* found = state.load();
    if (found == nullptr || found->process != getpid()) {
      State* fresh = new State;
      if (state.compare_exchange_strong(found, fresh)) return *fresh;
      delete fresh;  // another thread was faster
    }
    return *found;
  }
  ~Handle() {
    State* last = state.load();
    if (last != nullptr && last->process == getpid()) delete last;
  }
};

// Return what `work` returns, or `otherwise` with the reason in `error`, of `size` bytes.
template <typename Result, typename Function>
Result guarded(char* error, int64_t size, Result otherwise, Function work) {
  const auto say = [&](const char* reason) { std::snprintf(error, size, "%s", reason); };
  try {
    return work();
  } catch (const PlanError& problem) {
    say(problem.what());
  } catch (const std::system_error&) {
    say("the system gives no more threads");
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error
    say("there is not enough memory");
  }
  return otherwise;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED Handle* ppcls_network_create(const void* plan, int64_t size, char* error, int64_t error_size) {
  return guarded(error, error_size, static_cast<Handle*>(nullptr), [&] {
    auto network = std::make_shared<const Network>(plan, size);
    return new Handle{std::move(network)};
  });
}

EXPORTED Handle* ppcls_network_clone(const Handle* handle, char* error, int64_t error_size) {
  return guarded(error, error_size, static_cast<Handle*>(nullptr), [&] { return new Handle{handle->network}; });
}

EXPORTED int64_t ppcls_network_classes(const Handle* handle) { return handle->network->classes(); }

EXPORTED int ppcls_network_run(Handle* handle, const float* images, int64_t batch, int64_t height, int64_t width,
                               float* out, int64_t threads, char* error, int64_t error_size) {
  return guarded(error, error_size, 1, [&] {
    require(batch > 0 && 0 < height && height <= kLongestSide && 0 < width && width <= kLongestSide,
            "it takes RGB images, (N, 3, H, W)");
    State& state = handle->own_state();
    const std::lock_guard<std::mutex> lock(state.running);
    const int64_t size = std::min(std::max<int64_t>(threads, 1), kMostThreads);
    if (!state.pool || state.pool->size() != size) {
      state.pool.reset();
      state.pool = std::make_unique<Pool>(size);
    }
    handle->network->run(batch, {3, height, width}, images, state.memory, *state.pool, out);
    return 0;
  });
}

EXPORTED void ppcls_network_destroy(Handle* handle) { delete handle; }
