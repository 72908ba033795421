// The steps of a network that make maps of maps, and the reader of their encoding (plan.py).
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "../kernels/rounding.h"
#include "../kernels/simd.h"
#include "threads.h"

// Planes, `step` floats apart. What is between the end of a plane and the next is garbage, which lets vectors be stored
// across the end of a row.
struct Map {
  int64_t channels, height, width;
  bool packed = false;  // one plane right behind the other

  int64_t positions() const { return height * width; }
  // A vector that begins in the last position ends before the next plane.
  int64_t step() const { return packed ? positions() : round_up(positions() + kLanes - 1, kLanes); }
  int64_t size() const { return channels * step() + kLanes; }
};

// Memory in elements: of a thread's own, and of what a team shares beside its maps.
struct Sizes {
  int64_t own = 0, offsets = 0, shared = 0;
};

struct Scratch {
  std::vector<float> own;
  std::vector<int64_t> offsets;
};

// A plan that is not one: nothing of it is run.
struct PlanError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* reason) {
  if (!condition) throw PlanError(reason);
}

// The integers and the floats of one step. Nothing is read past them, and no integer is used that was not asked for
// within its limits: a plan may be made by anybody.
class Fields {
 public:
  Fields(const int32_t* integers, int64_t count, const float* floats, int64_t size)
      : integers_(integers), left_(count), floats_(floats), floats_left_(size) {}

  int64_t integer(int64_t least, int64_t most) { return *integers(1, least, most); }
  const int32_t* integers(int64_t count, int64_t least, int64_t most) {
    require(count >= 0 && count <= left_, "a step ends too early");
    const int32_t* found = integers_;
    for (int64_t i = 0; i < count; ++i)
      require(found[i] >= least && found[i] <= most, "a number of a step is out of its range");
    integers_ += count;
    left_ -= count;
    return found;
  }
  const float* floats(int64_t count) {
    require(count >= 0 && count <= floats_left_, "weights of a step are missing");
    const float* found = floats_;
    floats_ += count;
    floats_left_ -= count;
    return found;
  }
  void end() const { require(left_ == 0 && floats_left_ == 0, "a step has more numbers than it takes"); }

 private:
  const int32_t* integers_;
  int64_t left_;
  const float* floats_;
  int64_t floats_left_;
};

// Numbers of channels, kernels and hidden units stay so small that products of three fit into 64 bits.
constexpr int64_t kMost = 1 << 20;

// Each of the outputs 0, 1, ... is to be made once: by none it would be garbage, by two threads a race.
class Once {
 public:
  explicit Once(int64_t count) : made_(count) {}
  void make(const int32_t* outputs, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      require(!made_[outputs[i]], "an output is made twice");
      made_[outputs[i]] = true;
    }
  }
  void end() const {
    require(std::find(made_.begin(), made_.end(), false) == made_.end(), "an output is not made");
  }

 private:
  std::vector<bool> made_;
};

// What a step works on; `shared` is of all threads, `own` of this one.
struct Work {
  const Team& team;
  const Map& in;
  const float* x;
  const Map& to;
  float* out;
  float* shared;
  Scratch& own;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual Map output(const Map& in) const = 0;
  virtual Sizes sizes(const Map& in) const = 0;
  // Every thread of the team calls it; all are ready when it returns.
  virtual void run(const Work& work) const = 0;
};
