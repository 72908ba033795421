// A network of a plan: steps that make maps of one image, a pooling, and a head for all images.
#pragma once

#include <memory>
#include <vector>

#include "step.h"

// What threads work in, kept from run to run, since fresh memory comes as page faults.
struct Memory {
  struct Shared {
    std::vector<float> maps[3], more;  // maps by turns
  };
  std::vector<Shared> shared;  // of each team
  std::vector<Scratch> own;    // of each thread
  std::vector<float> rows, next;
};

class Network {
 public:
  // Raises PlanError: `size` bytes that are no plan, or whose numbers do not fit each other.
  Network(const void* plan, int64_t size);

  int64_t classes() const { return classes_; }
  // The outputs (batch, classes) for images (batch, 3, height, width). Raises std::bad_alloc before any thread starts.
  void run(int64_t batch, const Map& image, const float* x, Memory& memory, Pool& pool, float* out) const;

 private:
  enum Kind : int32_t { kFactorized, kPointwise, kShiftMax, kHold, kAddHeld, kPool, kLinear, kSoftmax, kSigmoid };
  struct Place {
    Kind kind;
    std::unique_ptr<Step> step;  // none of kHold and kAddHeld
  };
  struct Linear {
    int64_t inputs, outputs;
    const float* weights;

    void run(const Team& team, int64_t batch, const float* x, float* out) const;
  };

  void read();
  void prepare(const Map& image, int64_t batch, int64_t teams, int64_t threads, Memory& memory) const;
  void features(const Team& team, Memory::Shared& shared, Scratch& own, Map map, const float* image,
                float* pooled) const;

  std::vector<float> floats_;
  std::vector<int32_t> integers_;
  std::vector<Place> steps_;
  bool relu6_ = false;  // before the pooling
  std::vector<Linear> head_;
  Kind last_ = kLinear;  // kSoftmax, kSigmoid, or nothing more
  int64_t features_ = 0, classes_ = 0;
};
