// The steps of a MicroNet that make maps; see micronet.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "simd.h"

inline int64_t round_up(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Planes, `step` floats apart. What is between the end of a plane and the next is garbage, which lets vectors be stored
// across the end of a row.
struct Map {
  int64_t channels, height, width;
  bool packed = false;  // one plane right behind the other

  int64_t positions() const { return height * width; }
  // A vector that begins in the last position ends before the next plane.
  int64_t step() const { return packed ? positions() : round_up(positions() + kLanes - 1); }
};

// The threads that work on one image, and this one's place among them.
struct Team {
  int64_t rank, size;

  template <typename Work>
  void share(int64_t count, Work work) const {
    for (int64_t i = count * rank / size; i < count * (rank + 1) / size; ++i) work(i);
    if (size > 1) {
#pragma omp barrier
    }
  }
};

// The most of everything that the steps of a plan take, in elements.
struct Sizes {
  int64_t map = 0, means = 0, rows = 0, hidden = 0, coefficients = 0, offsets = 0;
};

// A thread's own memory, kept from run to run, since fresh memory comes as page faults.
struct Scratch {
  std::vector<float> rows, hidden, coefficients;
  std::vector<int64_t> offsets;

  void grow(const Sizes& sizes) {
    rows.resize(std::max<size_t>(rows.size(), sizes.rows));
    hidden.resize(std::max<size_t>(hidden.size(), sizes.hidden));
    coefficients.resize(std::max<size_t>(coefficients.size(), sizes.coefficients));
    offsets.resize(std::max<size_t>(offsets.size(), sizes.offsets));
  }
};

struct FactorizedStep {
  explicit FactorizedStep(const int32_t* ints)
      : column(ints[0]), row(ints[1]), down(ints[2]), across(ints[3]), above(ints[4]), before(ints[5]),
        relu6(ints[6]), middles(ints[7]), inputs(ints[8]), outputs(ints[9]), channels(ints + 10) {}

  Map output(const Map& in) const {
    return {middles * outputs, (in.height + 2 * above - column) / down + 1, (in.width + 2 * before - row) / across + 1};
  }
  int64_t padded(const Map& in) const { return (in.width + 2 * before + across - 1) / across; }
  int64_t line(const Map& in) const { return padded(in) + 2 * kLanes; }
  // The rows of a middle, cut into phases, and one that is not cut yet.
  int64_t phase_size(const Map& in) const { return output(in).height * line(in); }
  int64_t rows(const Map& in) const { return across * (phase_size(in) + 1) + in.width + 2 * before + kLanes; }

  int64_t column, row, down, across, above, before, relu6;
  // A middle is the kx1 convolution of `inputs` planes; each has `outputs` 1xk convolutions.
  int64_t middles, inputs, outputs;
  const int32_t* channels;  // for each middle its inputs, then its outputs
};

struct PointwiseStep {
  explicit PointwiseStep(const int32_t* ints) : outputs(ints[0]), relu6(ints[1]), tiles(ints[2]), offsets(ints + 3) {}
  int64_t outputs, relu6, tiles;
  const int32_t* offsets;  // of each tile's integers from here, and of its floats
};

struct ShiftMaxStep {
  explicit ShiftMaxStep(const int32_t* ints) : hidden(ints[0]), fusions(ints[1]), shift(ints + 2) {}
  int64_t hidden, fusions;
  const int32_t* shift;
};

float mean(const float* plane, int64_t positions, bool relu6);

void factorized(const Team& team, const FactorizedStep& conv, const Map& in, const float* x, const float* weights,
                float* out, const Map& to, Scratch& scratch);
void pointwise(const Team& team, const PointwiseStep& conv, const Map& in, const float* x, const float* weights,
               float* out);
// `means` is shared by the team.
void shift_max(const Team& team, const ShiftMaxStep& act, const Map& map, const float* x, const float* weights,
               float* means, Scratch& scratch, float* out);
