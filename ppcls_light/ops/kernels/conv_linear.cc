// Convolution of maps that are no larger than the kernel, as a linear layer of whole images: out (N, outputs) is
// x (N, depth) times a matrix. It has fewer products than the columns, of which most values are padding, and vectors
// are along outputs or depth, which are long where maps are small.

#include <algorithm>
#include <memory>

#include "conv.h"
#include "transpose.h"

namespace {

using Floats = std::unique_ptr<float[]>;

int64_t area(Pair plane) { return plane.height * plane.width; }

// Whether the weight is the matrix: each kernel covers the image once.
bool covers(const Conv& conv) {
  return area(conv.output) == 1 && conv.kernel.height == conv.input.height && conv.kernel.width == conv.input.width &&
         conv.padding.height + conv.padding.width == 0;
}

// Calls each(at in the matrix (outputs places, inputs places), at in the weight) where a place sees another by a tap.
template <typename Each>
void for_seen(const Conv& conv, Each each) {
  const int64_t inside = area(conv.input), outside = area(conv.output), taps = area(conv.kernel);
#pragma omp parallel for schedule(static)
  for (int64_t o = 0; o < conv.outputs; ++o)
    for (int64_t place = 0; place < outside; ++place)
      for (int64_t seen = 0; seen < inside; ++seen) {
        const int64_t y = seen / conv.input.width - place / conv.output.width * conv.stride.height;
        const int64_t x = seen % conv.input.width - place % conv.output.width * conv.stride.width;
        const int64_t v = y + conv.padding.height, u = x + conv.padding.width;
        if (v < 0 || v >= conv.kernel.height || u < 0 || u >= conv.kernel.width) continue;
        int64_t at = (o * outside + place) * conv.inputs * inside + seen;
        int64_t k = v * conv.kernel.width + u;
        for (int64_t c = 0; c < conv.inputs; ++c, at += inside, k += taps)
          each(at, conv.input_major ? k * conv.outputs + o : o * conv.inputs * taps + k);
      }
}

// to (columns, rows) = from (rows, columns), transposed.
void transpose_matrix(int64_t rows, int64_t columns, const float* from, float* to) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < columns; c += kLanes)
    for (int64_t r = 0; r < rows; r += kLanes) {
      if (c + kLanes <= columns && r + kLanes <= rows) {
        transpose(from + r * columns + c, columns, to + c * rows + r, rows);
      } else {
        for (int64_t i = c; i < std::min(columns, c + kLanes); ++i)
          for (int64_t j = r; j < std::min(rows, r + kLanes); ++j) to[i * rows + j] = from[j * columns + i];
      }
    }
}

// out (rows, columns) = left (rows, depth) right (depth, columns); left(r, k) is at r row_step + k depth_step.
void multiply(int64_t rows, int64_t columns, int64_t depth, const float* left, int64_t row_step, int64_t depth_step,
              const float* right, int64_t right_step, float* out, int64_t out_step) {
  const Floats packed(new float[rows * depth]);
  pack_weights({left, row_step, depth_step, {0}}, rows, depth, packed.get());
  const Columns values(1, depth, 0, right_step, {1, columns}, {1, columns}, {1, 1}, {{0, 0}});
  convolve(values, right, rows, packed.get(), nullptr, nullptr, {0, out_step, {1, columns}, {0, 0}, {1, 1}}, out);
}

// The matrix of a layer, (outputs, depth) or, if `input_major`, (depth, outputs).
struct Matrix {
  Matrix(const Conv& conv, const float* weight)
      : outputs(conv.outputs * area(conv.output)), depth(conv.inputs * area(conv.input)), values(weight),
        input_major(conv.input_major) {
    if (covers(conv)) return;
    own.reset(new float[outputs * depth]());
    for_seen(conv, [this, weight](int64_t at, int64_t k) { own[at] = weight[k]; });
    values = own.get();
    input_major = false;
  }

  // As it is, or transposed.
  const float* get(bool major) {
    if (major == input_major) return values;
    turned.reset(new float[outputs * depth]);
    transpose_matrix(input_major ? depth : outputs, input_major ? outputs : depth, values, turned.get());
    return turned.get();
  }

  int64_t outputs, depth;
  const float* values;
  bool input_major;
  Floats own, turned;
};

}  // namespace

bool is_linear(const Conv& conv) {
  return area(conv.input) <= area(conv.kernel) && area(conv.output) <= 4;
}

void linear_forward(const Conv& conv, const float* x, const float* weight, const float* bias, const float* shortcut,
                    float* out) {
  Matrix matrix(conv, weight);
  multiply(conv.batch, matrix.outputs, matrix.depth, x, conv.input_image(), 1, matrix.get(true), matrix.outputs, out,
           conv.output_image());
  if (!bias && !shortcut) return;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < conv.batch; ++n)
    for (int64_t i = 0; i < matrix.outputs; ++i) {
      const int64_t at = n * conv.output_image() + i;
      out[at] += (bias ? bias[i / area(conv.output)] : 0.f) + (shortcut ? shortcut[at] : 0.f);
    }
}

void linear_backward(const Conv& conv, const float* x, const float* weight, const float* grad_out, float* grad_x,
                     float* grad_weight, float* grad_bias) {
  Matrix matrix(conv, weight);
  const int64_t outputs = matrix.outputs, depth = matrix.depth;
  const int64_t x_step = conv.input_image(), out_step = conv.output_image();
  if (grad_x) multiply(conv.batch, depth, outputs, grad_out, out_step, 1, matrix.get(false), depth, grad_x, x_step);
  if (!covers(conv)) {
    const Floats seen(new float[outputs * depth]);
    multiply(outputs, depth, conv.batch, grad_out, 1, out_step, x, x_step, seen.get(), depth);
    std::fill_n(grad_weight, conv.outputs * conv.inputs * area(conv.kernel), 0.f);
    for_seen(conv, [&](int64_t at, int64_t k) { grad_weight[k] += seen[at]; });
  } else if (conv.input_major) {
    multiply(depth, outputs, conv.batch, x, 1, x_step, grad_out, out_step, grad_weight, outputs);
  } else {
    multiply(outputs, depth, conv.batch, grad_out, 1, out_step, x, x_step, grad_weight, depth);
  }
  if (!grad_bias) return;
  const int64_t places = area(conv.output);
  for (int64_t o = 0; o < conv.outputs; ++o) {
    float total = 0.f;
    for (int64_t n = 0; n < conv.batch; ++n)
      for (int64_t place = 0; place < places; ++place) total += grad_out[n * out_step + o * places + place];
    grad_bias[o] = total;
  }
}
