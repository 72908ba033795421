// Convolution without groups: its three products.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "conv.h"

namespace {

// The gradient of the input. The places of the input that have the same rest by the stride, (y, x) + k stride, are seen
// by the same taps of the kernel: their gradient is a convolution of stride 1 of the gradient of the output.
void input_gradient(const Conv& conv, const float* weight, const float* grad_out, float* grad_x) {
  const Pair kernel = conv.kernel, stride = conv.stride;
  const int64_t area = kernel.height * kernel.width;
  const std::unique_ptr<float[]> packed(new float[conv.inputs * conv.outputs * area]);
  for (int64_t y = 0; y < std::min(stride.height, conv.input.height); ++y)
    for (int64_t x = 0; x < std::min(stride.width, conv.input.width); ++x) {
      std::vector<Pair> taps;
      // Outputs are now what is summed over.
      Weights weights{weight, conv.input_major ? area * conv.outputs : area, conv.input_major ? 1 : conv.inputs * area,
                      {}};
      for (int64_t v = 0; v < kernel.height; ++v)
        for (int64_t u = 0; u < kernel.width; ++u) {
          const int64_t below = y + conv.padding.height - v, right = x + conv.padding.width - u;
          if (below % stride.height || right % stride.width) continue;
          taps.push_back({below / stride.height, right / stride.width});
          weights.taps.push_back((v * kernel.width + u) * (conv.input_major ? conv.outputs : 1));
        }
      pack_weights(weights, conv.inputs, conv.outputs, packed.get());
      const Pair grid{divide_up(conv.input.height - y, stride.height), divide_up(conv.input.width - x, stride.width)};
      const Columns columns(conv.batch, conv.outputs, conv.output_image(), conv.output.height * conv.output.width,
                            conv.output, grid, {1, 1}, std::move(taps));
      const Places places{conv.input_image(), conv.input.height * conv.input.width, conv.input, {y, x}, stride};
      convolve(columns, grad_out, conv.inputs, packed.get(), nullptr, nullptr, places, grad_x);
    }
}

// Copies the channels that pass the convolution by, after the `before` others.
void carry(const Conv& conv, const float* from, int64_t from_image, int64_t before, float* to, int64_t to_image,
           int64_t to_before) {
  const int64_t plane = conv.input.height * conv.input.width;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < conv.batch; ++n)
    std::copy_n(from + n * from_image + before * plane, conv.carried * plane, to + n * to_image + to_before * plane);
}

}  // namespace

void conv_forward(const Conv& conv, const float* x, const float* weight, const float* bias, const float* shortcut,
                  float* out) {
  if (conv.carried) carry(conv, x, conv.input_image(), conv.inputs, out, conv.output_image(), conv.outputs);
  if (is_linear(conv)) return linear_forward(conv, x, weight, bias, shortcut, out);
  const Columns columns = columns_of_input(conv);
  const int64_t depth = columns.depth();
  const std::unique_ptr<float[]> packed(new float[conv.outputs * depth]);
  // A channel for each row of a column: their weights are one after the other.
  const Weights weights{weight, conv.input_major ? 1 : depth, conv.input_major ? conv.outputs : 1, {0}};
  pack_weights(weights, conv.outputs, depth, packed.get());
  convolve(columns, x, conv.outputs, packed.get(), bias, shortcut,
           {conv.output_image(), conv.output.height * conv.output.width, conv.output, {0, 0}, {1, 1}}, out);
}

void conv_backward(const Conv& conv, const float* x, const float* weight, const float* grad_out, float* grad_x,
                   float* grad_weight, float* grad_bias) {
  if (conv.carried && grad_x)
    carry(conv, grad_out, conv.output_image(), conv.outputs, grad_x, conv.input_image(), conv.inputs);
  if (is_linear(conv)) return linear_backward(conv, x, weight, grad_out, grad_x, grad_weight, grad_bias);
  if (grad_x) input_gradient(conv, weight, grad_out, grad_x);
  weight_gradient(conv, x, grad_out, grad_weight, grad_bias);
}
