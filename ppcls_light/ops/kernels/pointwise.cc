// 1x1 convolution: for each image the matrix product out = weight x, weight (O, C) and x (C, P), P = H W >= kLanes.
//
// Rows of x and out are contiguous and long, weights are small: nothing is packed. The last vector of a row of
// P elements overlaps the one before it.

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "simd.h"
#include "tile.h"

namespace {

constexpr int64_t kRows = 6;                                // outputs of a tile of a product
constexpr int64_t kColumns = kManyRegisters ? 4 : 2;        // its vectors
constexpr int64_t kStrip = 4 * kColumns * kLanes;           // positions of an image that a task takes
constexpr int64_t kLeft = 4, kRight = kManyRegisters ? 4 : 2;  // outputs and inputs of a tile of the weight gradient
constexpr int64_t kParts = 8;                               // of the batch, which are summed one by one
constexpr int64_t kOutputsPerTask = 32;
constexpr int64_t kPositionsPerSum = 512;

// `rows` outputs in `columns` vectors, which begin at `places`.
template <int rows, int columns>
void outputs_tile(int64_t depth, const float* weight, int64_t row_step, int64_t depth_step, const float* x,
                  int64_t positions, const int64_t* places, float* out) {
  product_tile<rows, columns>(
      depth, [](int, int) { return Vec{}; },
      [=](int64_t c, int r) { return weight[r * row_step + c * depth_step]; },
      [=](int64_t c, int v) { return load(x + c * positions + places[v]); },
      [=](int r, int v, Vec total) { store(out + r * positions + places[v], total); });
}

template <int columns>
void product_columns(int64_t outputs, int64_t depth, const float* weight, int64_t row_step, int64_t depth_step,
                     const float* x, int64_t positions, const int64_t* places, float* out) {
  int64_t o = 0;
  for (; o + kRows <= outputs; o += kRows)
    outputs_tile<kRows, columns>(depth, weight + o * row_step, row_step, depth_step, x, positions, places,
                                 out + o * positions);
  for (; o < outputs; ++o)
    outputs_tile<1, columns>(depth, weight + o * row_step, row_step, depth_step, x, positions, places,
                             out + o * positions);
}

// out[n] (outputs, P) = weight x[n] (depth, P), where weight[o][c] is at o * row_step + c * depth_step.
void product(int64_t batch, int64_t outputs, int64_t depth, int64_t positions, const float* weight,
             int64_t row_step, int64_t depth_step, const float* x, float* out) {
  const int64_t strips = (positions + kStrip - 1) / kStrip;
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < batch * strips; ++task) {
    const int64_t n = task / strips, begin = task % strips * kStrip;
    const int64_t end = std::min(positions, begin + kStrip);
    const float* image = x + n * depth * positions;
    float* result = out + n * outputs * positions;
    for (int64_t p = begin; p < end; p += kColumns * kLanes) {
      int64_t places[kColumns];
      for (int64_t v = 0; v < kColumns; ++v) places[v] = std::min(p + v * kLanes, positions - kLanes);
      if (p + (kColumns - 1) * kLanes < end)
        product_columns<kColumns>(outputs, depth, weight, row_step, depth_step, image, positions, places, result);
      else
        for (int64_t v = 0; p + v * kLanes < end; ++v)
          product_columns<1>(outputs, depth, weight, row_step, depth_step, image, positions, places + v, result);
    }
  }
}

// sums[r * step + s] += sum over `images` and `length` positions of left[r][p] * right[s][p].
template <int lefts, int rights>
void gradient_tile(int64_t images, int64_t length, int64_t positions, const float* left, int64_t left_step,
                   const float* right, int64_t right_step, float* sums, int64_t step) {
  const int64_t whole = length / kLanes * kLanes;
  const Mask fresh = last_lanes(length - whole);
  Vec total[lefts][rights] = {};
  const auto multiply = [&](const float* a, const float* b, bool last) __attribute__((always_inline)) {
    Vec values[rights];
#pragma GCC unroll 8
    for (int s = 0; s < rights; ++s) values[s] = load(b + s * positions);
#pragma GCC unroll 8
    for (int r = 0; r < lefts; ++r) {
      Vec value = load(a + r * positions);
      if (last) value = keep_lanes(value, fresh);
#pragma GCC unroll 8
      for (int s = 0; s < rights; ++s) total[r][s] += value * values[s];
    }
  };
  for (int64_t n = 0; n < images; ++n) {
    const float *a = left + n * left_step, *b = right + n * right_step;
    for (int64_t p = 0; p < whole; p += kLanes) multiply(a + p, b + p, false);
    if (whole < length) multiply(a + length - kLanes, b + length - kLanes, true);
  }
#pragma GCC unroll 8
  for (int r = 0; r < lefts; ++r)
#pragma GCC unroll 8
    for (int s = 0; s < rights; ++s) sums[r * step + s] += sum_lanes(total[r][s]);
}

// The same for `lefts` rows and all rows of `right`.
template <int lefts>
void gradient_rows(int64_t images, int64_t length, int64_t positions, const float* left, int64_t left_step,
                   const float* right, int64_t right_step, float* sums, int64_t inputs) {
  int64_t c = 0;
  for (; c + kRight <= inputs; c += kRight)
    gradient_tile<lefts, kRight>(images, length, positions, left, left_step, right + c * positions, right_step,
                                 sums + c, inputs);
  for (; c < inputs; ++c)
    gradient_tile<lefts, 1>(images, length, positions, left, left_step, right + c * positions, right_step,
                            sums + c, inputs);
}

void weight_gradient(const Pointwise& conv, const float* x, const float* grad_out, float* grad_weight) {
  const int64_t size = conv.outputs * conv.inputs, positions = conv.positions;
  const int64_t x_step = conv.inputs * positions, out_step = conv.outputs * positions;
  const int64_t parts = std::min(conv.batch, kParts);
  const int64_t blocks = (conv.outputs + kOutputsPerTask - 1) / kOutputsPerTask;
  // Enough positions between two sums over lanes, few enough to stay in the cache meanwhile.
  const int64_t group = std::max<int64_t>(1, kPositionsPerSum / positions);
  std::vector<float> partial(parts * size);
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < parts * blocks; ++task) {
    const int64_t part = task / blocks, first = task % blocks * kOutputsPerTask;
    const int64_t last = std::min(conv.outputs, first + kOutputsPerTask);
    const int64_t end = (part + 1) * conv.batch / parts;
    float* sums = partial.data() + part * size;
    for (int64_t n = part * conv.batch / parts; n < end; n += group) {
      const int64_t images = std::min(group, end - n);
      for (int64_t p = 0; p < positions; p += kPositionsPerSum) {
        // A rest shorter than a vector goes with the kPositionsPerSum before it.
        int64_t length = positions - p;
        if (length >= kPositionsPerSum + kLanes) length = kPositionsPerSum;
        const float *left = grad_out + n * out_step + p, *right = x + n * x_step + p;
        int64_t o = first;
        for (; o + kLeft <= last; o += kLeft)
          gradient_rows<kLeft>(images, length, positions, left + o * positions, out_step, right, x_step,
                               sums + o * conv.inputs, conv.inputs);
        for (; o < last; ++o)
          gradient_rows<1>(images, length, positions, left + o * positions, out_step, right, x_step,
                           sums + o * conv.inputs, conv.inputs);
        if (length > kPositionsPerSum) break;
      }
    }
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    float total = 0.f;
    for (int64_t part = 0; part < parts; ++part) total += partial[part * size + i];
    grad_weight[i] = total;
  }
}

}  // namespace

void pointwise_forward(const Pointwise& conv, const float* x, const float* weight, float* out) {
  product(conv.batch, conv.outputs, conv.inputs, conv.positions, weight, conv.inputs, 1, x, out);
}

void pointwise_backward(const Pointwise& conv, const float* x, const float* weight, const float* grad_out,
                        float* grad_x, float* grad_weight) {
  product(conv.batch, conv.inputs, conv.outputs, conv.positions, weight, 1, conv.inputs, grad_out, grad_x);
  weight_gradient(conv, x, grad_out, grad_weight);
}
