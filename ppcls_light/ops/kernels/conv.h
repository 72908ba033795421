// Parts of a convolution. It is a matrix product of its weights with the columns of its input: for each position of a
// grid the values under the kernel there. Columns are made for some positions at a time and used while in the cache.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "rounding.h"
#include "simd.h"

// The columns of images (channels, plane). Tap t of position (y, x) of the grid sees the value at (y step.height +
// taps[t].height, x step.width + taps[t].width), or 0 outside of the plane. Rows of a column are channels, then taps.
//
// Positions are numbered over all images, so that small maps fill vectors as well. Where each value is seen by several
// taps of step 1, the numbers count the padding, too: what a tap sees is then a channel, shifted by a constant.
struct Columns {
  Columns(int64_t batch, int64_t channels, int64_t image, int64_t channel, Pair plane, Pair grid, Pair step,
          std::vector<Pair> taps);

  int64_t depth() const { return channels * int64_t(taps.size()); }
  int64_t stored() const { return shifted ? channels : depth(); }  // rows of a panel
  int64_t positions() const { return batch * numbered.height * numbered.width; }
  int64_t shift(const Pair& tap) const { return tap.height * numbered.width + tap.width; }

  int64_t batch, channels, image, channel;  // floats from one image, and from one channel, to the next
  Pair plane, grid, step;
  std::vector<Pair> taps;
  Pair numbered;  // positions of an image that have a number: the grid, or with its padding
  bool shifted;
  int64_t before = 0, after = 0;  // the farthest shifts
};

Columns columns_of_input(const Conv& conv);
// Of the gradient of the output, at the positions that `inputs` number, 0 in their padding.
Columns columns_of_gradient(const Conv& conv, const Columns& inputs);

// Of position (y, x) a product writes to (begin.height + y step.height, begin.width + x step.width).
struct Places {
  int64_t image, channel;  // floats from one to the next
  Pair plane, begin, step;
};

// Columns of neighbouring positions, in the cache.
class Panel {
 public:
  Panel(const Columns& columns, int64_t positions);

  // The columns of `count` positions from `first`, and zeros after them.
  void fill(const float* images, int64_t first, int64_t count);

  // Row r of the first column is data()[rows()[r]], of the next columns what follows.
  const float* data() const { return reinterpret_cast<const float*>(vectors_.get()); }
  const int64_t* rows() const { return rows_.data(); }

 private:
  // `length` values of a row in memory, then zeros.
  struct Run {
    int64_t from, length, zeros;
  };
  void add_runs(Pair tap, int64_t begin, int64_t end);
  void add_run(const Run& run);

  const Columns& columns_;
  int64_t step_;  // floats from one stored row to the next
  std::vector<int64_t> rows_;
  std::vector<Run> runs_;  // of the stored rows of a channel
  std::unique_ptr<Vec[]> vectors_;
};

// Copies `length` floats, the last of them by a vector that overlaps the one before it.
inline void copy(const float* from, int64_t length, float* to) {
  typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
  const auto move = [=](int64_t i) { *reinterpret_cast<Quad*>(to + i) = *reinterpret_cast<const Quad*>(from + i); };
  if (length >= kLanes) {
    for (int64_t i = 0; i < length - kLanes; i += kLanes) store(to + i, load(from + i));
    store(to + length - kLanes, load(from + length - kLanes));
  } else if (length >= 4) {
    for (int64_t i = 0; i < length - 4; i += 4) move(i);
    move(length - 4);
  } else {
    for (int64_t i = 0; i < length; ++i) to[i] = from[i];
  }
}

// The weight of an output, a channel and a tap is at their steps and data[taps[tap]].
struct Weights {
  const float* data;
  int64_t output_step, channel_step;
  std::vector<int64_t> taps;
};

// Weights in the order in which `convolve` reads them.
void pack_weights(const Weights& weights, int64_t outputs, int64_t channels, float* packed);

// out[n][o] at its places = bias[o] + shortcut[n][o] there + the sum over rows of weight(o, row) times the columns.
// `bias` and `shortcut` may be null.
void convolve(const Columns& columns, const float* images, int64_t outputs, const float* packed, const float* bias,
              const float* shortcut, const Places& places, float* out);

// Whether a convolution is computed as a linear layer of whole images, and its passes then.
bool is_linear(const Conv& conv);
void linear_forward(const Conv& conv, const float* x, const float* weight, const float* bias, const float* shortcut,
                    float* out);
void linear_backward(const Conv& conv, const float* x, const float* weight, const float* grad_out, float* grad_x,
                     float* grad_weight, float* grad_bias);

void weight_gradient(const Conv& conv, const float* x, const float* grad_out, float* grad_weight, float* grad_bias);

constexpr int64_t kTileRows = kManyRegisters ? 8 : 4;
constexpr int64_t kTileColumns = 3;
constexpr int64_t kStrip = kTileColumns * kLanes;

// Outputs are cut into even blocks of at most kTileRows.
inline int64_t output_blocks(int64_t outputs) { return divide_up(outputs, kTileRows); }
inline int64_t output_begin(int64_t outputs, int64_t block) { return outputs * block / output_blocks(outputs); }
