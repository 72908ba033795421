// MicroNet forward, all of it: its layers take some 100,000 multiply-adds each, which is less than an engine
// spends on starting an operator.
//
// The steps come as a plan: the number of steps; for each its kind, how many of the integers and of the floats
// that follow are its own, and those integers. The floats are read in the same order. `plan.py` writes it and
// describes each step. An image's steps are shared by a team of threads, of one thread if there are enough images;
// the steps of the head take all images at once, so that weights are read once.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <stdexcept>
#include <vector>

#include "kernels.h"
#include "micronet.h"
#include "simd.h"
#include "tile.h"

namespace {

enum Kind : int32_t { kFactorized, kPointwise, kShiftMax, kHold, kAddHeld, kPool, kLinear, kSoftmax };

constexpr int64_t kSpan = 64;  // outputs of a block of a linear layer; the _SPAN of plan.py
constexpr int kSpanVecs = kSpan / kLanes;
constexpr int kImages = kManyRegisters ? 16 / kSpanVecs : 1;  // of a tile of a linear layer

// The steps of a plan, in order.
class Steps {
 public:
  Steps(const int32_t* plan, const float* weights) : count_(plan[0]), next_(plan + 1), floats_(weights) {}

  bool more() const { return count_ > 0; }
  Kind kind() const { return Kind(next_[0]); }
  const int32_t* ints() const { return next_ + 3; }
  const float* floats() const { return floats_; }
  void advance() {
    floats_ += next_[2];
    next_ += 3 + next_[1];
    --count_;
  }

 private:
  int64_t count_;
  const int32_t* next_;
  const float* floats_;
};

// The map after a step; a step of the head has none.
Map after(const Steps& steps, const Map& in) {
  switch (steps.kind()) {
    case kFactorized: return FactorizedStep(steps.ints()).output(in);
    case kPointwise: return {PointwiseStep(steps.ints()).outputs, in.height, in.width};
    default: return in;
  }
}

// Memory that a team shares: maps by turns, and the means of a map's planes.
struct Maps {
  std::vector<float> maps[3], means;

  void grow(const Sizes& sizes) {
    for (auto& map : maps) map.resize(std::max<size_t>(map.size(), sizes.map));
    means.resize(std::max<size_t>(means.size(), sizes.means));
  }
};

thread_local Scratch scratch;
thread_local Maps own_maps;

// Go on to the pooling and `map` to what it pools; return what the steps before it take.
Sizes sizes_of(Steps& steps, Map& map) {
  Sizes sizes;
  const auto need = [](int64_t& most, int64_t count) { most = std::max(most, count); };
  need(sizes.map, map.channels * map.step() + kLanes);
  for (; steps.kind() != kPool; steps.advance()) {
    if (steps.kind() == kFactorized) {
      const FactorizedStep conv(steps.ints());
      need(sizes.rows, conv.rows(map));
      need(sizes.offsets, conv.row);
    } else if (steps.kind() == kShiftMax) {
      const ShiftMaxStep act(steps.ints());
      need(sizes.hidden, act.hidden);
      need(sizes.coefficients, 2 * act.fusions * map.channels);
    }
    map = after(steps, map);
    need(sizes.map, map.channels * map.step() + kLanes);
    need(sizes.means, map.channels);
  }
  return sizes;
}

// The steps of one image up to the pooled features.
void features(const Team& team, Maps& shared, Steps steps, Map map, const float* image, float* pooled) {
  int current = -1, held = -1, next = 0;  // of the shared maps: x's, that of the shortcut, and the one after x
  const auto other = [&] {
    for (next = 0; next == current || next == held; ++next) {
    }
    return shared.maps[next].data();
  };
  // Vectors of another width would read past the image's end.
  map.packed = map.width % kLanes == 0;
  if (!map.packed) {
    current = 0;
    team.share(map.channels, [&](int64_t c) {
      const float* plane = image + c * map.positions();
      std::copy(plane, plane + map.positions(), shared.maps[current].data() + c * map.step());
    });
  }
  for (; steps.kind() != kPool; steps.advance()) {
    const float* x = current < 0 ? image : shared.maps[current].data();
    const Map to = after(steps, map);
    switch (steps.kind()) {
      case kFactorized:
        factorized(team, FactorizedStep(steps.ints()), map, x, steps.floats(), other(), to, scratch);
        break;
      case kPointwise:
        pointwise(team, PointwiseStep(steps.ints()), map, x, steps.floats(), other());
        break;
      case kShiftMax:
        shift_max(team, ShiftMaxStep(steps.ints()), map, x, steps.floats(), shared.means.data(), scratch,
                  other());
        break;
      case kHold:
        held = current;
        continue;
      default: {  // kAddHeld
        float* sum = shared.maps[current].data();
        const float* add = shared.maps[held].data();
        team.share(map.channels, [&](int64_t c) {
          for (int64_t p = c * map.step(); p < (c + 1) * map.step(); p += kLanes)
            store(sum + p, load(sum + p) + load(add + p));
        });
        held = -1;
        continue;
      }
    }
    current = next;
    map = to;
  }
  const bool relu6 = steps.ints()[0];
  const float* x = shared.maps[current].data();
  team.share(map.channels, [&](int64_t c) {
    pooled[c] = hardswish(Vec{} + mean(x + c * map.step(), map.positions(), relu6))[0];
  });
}

template <int images>
void linear_tile(int64_t inputs, int64_t outputs, const float* x, const float* weights, float* out, int64_t width) {
  float results[images][kSpan];
  product_tile<images, kSpanVecs>(
      inputs, [=](int, int v) { return load(weights + inputs * kSpan + v * kLanes); },
      [=](int64_t i, int n) { return x[n * inputs + i]; },
      [=](int64_t i, int v) { return load(weights + i * kSpan + v * kLanes); },
      [&](int n, int v, Vec total) { store(results[n] + v * kLanes, hardswish(total)); });
  for (int n = 0; n < images; ++n) std::copy(results[n], results[n] + width, out + n * outputs);
}

void linear(int64_t batch, const Steps& steps, const float* x, float* out) {
  const int64_t inputs = steps.ints()[0], outputs = steps.ints()[1];
  const int64_t blocks = (outputs + kSpan - 1) / kSpan;
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const float* weights = steps.floats() + block * (inputs + 1) * kSpan;
    const int64_t width = std::min(kSpan, outputs - block * kSpan);
    float* to = out + block * kSpan;
    int64_t n = 0;
    for (; n + kImages <= batch; n += kImages)
      linear_tile<kImages>(inputs, outputs, x + n * inputs, weights, to + n * outputs, width);
    for (; n < batch; ++n) linear_tile<1>(inputs, outputs, x + n * inputs, weights, to + n * outputs, width);
  }
}

void softmax(int64_t batch, int64_t classes, const float* logits, float* out) {
  for (int64_t n = 0; n < batch; ++n, logits += classes, out += classes) {
    const float largest = *std::max_element(logits, logits + classes);
    float sum = 0.f;
    for (int64_t k = 0; k < classes; ++k) sum += out[k] = std::exp(logits[k] - largest);
    for (int64_t k = 0; k < classes; ++k) out[k] /= sum;
  }
}

}  // namespace

void micronet_forward(int64_t batch, Pair size, const float* x, const int32_t* plan, const float* weights,
                      float* out) {
  const Map image{3, size.height, size.width};
  Steps steps(plan, weights);
  Map map = image;
  const Sizes sizes = sizes_of(steps, map);
  std::vector<float> rows(batch * map.channels), next;
  const auto run = [&](const Team& team, Maps& at, int64_t n) {
    features(team, at, Steps(plan, weights), image, x + n * 3 * image.positions(), rows.data() + n * map.channels);
  };
  const bool alone = batch >= omp_get_max_threads();
  Maps& shared = own_maps;
  if (!alone) shared.grow(sizes);
  bool failed = false;
#pragma omp parallel
  {
    const Team team{omp_get_thread_num(), omp_get_num_threads()};
    try {  // an exception must not leave the parallel region
      scratch.grow(sizes);
      if (alone) own_maps.grow(sizes);
    } catch (const std::bad_alloc&) {
#pragma omp atomic write
      failed = true;
    }
#pragma omp barrier
    if (!failed && alone)
      for (int64_t n = batch * team.rank / team.size; n < batch * (team.rank + 1) / team.size; ++n) run({0, 1}, own_maps, n);
    else if (!failed)
      for (int64_t n = 0; n < batch; ++n) run(team, shared, n);
  }
  if (failed) throw std::runtime_error("there is not enough memory");
  for (steps.advance(); steps.more() && steps.kind() == kLinear; steps.advance()) {
    next.resize(batch * steps.ints()[1]);
    linear(batch, steps, rows.data(), next.data());
    rows.swap(next);
  }
  if (steps.more())
    softmax(batch, rows.size() / batch, rows.data(), out);
  else
    std::copy(rows.begin(), rows.end(), out);
}
