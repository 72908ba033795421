// Calls each kernel with arrays of exactly their size, for test_sanitize.py; writes the results to the file that is named
// on the command line.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <random>
#include <vector>

#include "kernels.h"

namespace {

using Array = std::vector<float>;

// Of mean 0 and variance 1, and the same bits for any processor.
Array random(int64_t size) {
  static std::mt19937 generator(0);
  Array values(size);
  for (float& value : values) value = float(int32_t(generator())) * 0x1.bb67aep-31f;
  return values;
}

// The results of all kernels, an array with values over 1 by the largest of them.
Array results;

void record(std::initializer_list<Array> arrays) {
  for (const Array& array : arrays) {
    float largest = 1;
    for (float value : array) largest = std::max(largest, std::abs(value));
    for (float value : array) results.push_back(value / largest);
  }
}

double dot(const Array& a, const Array& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * b[i];
  return sum;
}

void require(double value, double expected, double tolerance, const char* what) {
  if (std::abs(value - expected) <= tolerance) return;
  std::fprintf(stderr, "%s: %g instead of %g\n", what, value, expected);
  std::exit(1);
}

// A bilinear function and its gradients are adjoint: <grad, f(x, w)> = <grad_x, x> = <grad_w, w>.
void require_adjoint(const Array& out, const Array& grad_out, const Array& x, const Array& grad_x, const Array& weight,
                     const Array& grad_weight, const char* what) {
  record({out, grad_x, grad_weight});
  const double expected = dot(grad_out, out), tolerance = 1e-4 * std::sqrt(dot(out, out) * dot(grad_out, grad_out));
  require(dot(grad_x, x), expected, tolerance, what);
  require(dot(grad_weight, weight), expected, tolerance, what);
}

void depthwise(int64_t batch, int64_t multiplier, Pair plane, Pair kernel, Pair stride, Pair padding) {
  const int64_t channels = 3, outputs = channels * multiplier;
  const Pair output = {(plane.height + 2 * padding.height - kernel.height) / stride.height + 1,
                       (plane.width + 2 * padding.width - kernel.width) / stride.width + 1};
  const Depthwise conv{batch, channels, multiplier, plane, output, kernel, stride, padding};
  const Array x = random(batch * channels * plane.height * plane.width), bias(outputs);
  const Array weight = random(outputs * kernel.height * kernel.width);
  const Array grad_out = random(batch * outputs * output.height * output.width);
  Array out(grad_out.size()), grad_x(x.size()), grad_weight(weight.size()), grad_bias(outputs);
  depthwise_forward(conv, x.data(), weight.data(), bias.data(), out.data());
  depthwise_backward(conv, x.data(), weight.data(), grad_out.data(), grad_x.data(), grad_weight.data(),
                     grad_bias.data());
  require_adjoint(out, grad_out, x, grad_x, weight, grad_weight, "depthwise");
}

void conv(int64_t batch, Pair channels, Pair plane, Pair kernel, Pair stride, Pair padding, bool input_major, int64_t carried) {
  const Pair output = {(plane.height + 2 * padding.height - kernel.height) / stride.height + 1,
                       (plane.width + 2 * padding.width - kernel.width) / stride.width + 1};
  const int64_t inputs = channels.height, outputs = channels.width;
  if (output.height != plane.height || output.width != plane.width) carried = 0;
  const Conv conv{batch, inputs, outputs, plane, output, kernel, stride, padding, input_major, carried};
  const Array x = random(batch * conv.input_image()), bias(outputs);
  const Array weight = random(outputs * inputs * kernel.height * kernel.width);
  Array grad_out = random(batch * conv.output_image());
  for (int64_t n = 0; n < batch; ++n)  // no gradient of channels that do not come from the weights
    std::fill_n(grad_out.begin() + n * conv.output_image() + outputs * output.height * output.width,
                carried * output.height * output.width, 0.f);
  Array out(grad_out.size()), grad_x(x.size()), grad_weight(weight.size()), grad_bias(outputs);
  conv_forward(conv, x.data(), weight.data(), bias.data(), out.data());
  conv_backward(conv, x.data(), weight.data(), grad_out.data(), grad_x.data(), grad_weight.data(), grad_bias.data());
  require_adjoint(out, grad_out, x, grad_x, weight, grad_weight, "conv");
  conv_forward(conv, x.data(), weight.data(), nullptr, out.data());
  conv_backward(conv, x.data(), weight.data(), grad_out.data(), nullptr, grad_weight.data(), nullptr);
  require_adjoint(out, grad_out, x, grad_x, weight, grad_weight, "conv without bias");
}

// With gamma 1 the squares of the normalised values sum to their number; beta keeps them off the edge of ReLU.
void norm_act(int64_t batch, int64_t positions) {
  const Planes at{batch, 3, positions};
  const Array x = random(batch * 3 * positions), grad_out = random(x.size()), gamma(3, 1.f), beta(3, 0.5f);
  for (int activation = 0; activation <= int(Activation::gelu); ++activation) {
    Array mean(3), running_mean(3), running_variance(3), inverse_std(3);
    Array out(x.size()), grad_x(x.size()), grad_gamma(3), grad_beta(3);
    norm_act_forward(at, Activation(activation), x.data(), gamma.data(), beta.data(), 1e-5f, 0.9f,
                     running_mean.data(), running_variance.data(), mean.data(), inverse_std.data(), out.data());
    norm_act_backward(at, Activation(activation), x.data(), gamma.data(), beta.data(), mean.data(), inverse_std.data(),
                      grad_out.data(), grad_x.data(), grad_gamma.data(), grad_beta.data());
    record({running_mean, running_variance, mean, inverse_std, out, grad_x, grad_gamma, grad_beta});
    require(dot(grad_x, Array(x.size(), 1.f)), 0, 1e-3 * x.size(), "norm_act");
    if (!activation && batch * positions > 1) require(dot(out, out), 1.25 * x.size(), 1e-3 * x.size(), "norm_act");
  }
}

// A layer norm does not change when all channels of a position do by the same.
void layer_norm(const Planes& at) {
  const Array x = random(at.batch * at.channels * at.positions), grad_out = random(x.size());
  const Array gamma = random(at.channels), beta(at.channels);
  Array out(x.size()), grad_x(x.size()), grad_gamma(at.channels), grad_beta(at.channels);
  layer_norm_forward(at, x.data(), gamma.data(), beta.data(), 1e-6f, out.data());
  layer_norm_backward(at, x.data(), gamma.data(), 1e-6f, grad_out.data(), grad_x.data(), grad_gamma.data(),
                      grad_beta.data());
  if (at.channels > 1) record({out, grad_x, grad_gamma, grad_beta});  // else they are errors of rounding
  require(dot(grad_x, Array(x.size(), 1.f)), 0, 1e-3 * x.size(), "layer_norm");
  require(dot(grad_gamma, gamma), dot(grad_out, out), 1e-3 * x.size(), "layer_norm");
}

// Of the shortcut alone where gamma is 0.
void bottleneck(const Bottleneck& at, bool with_keep) {
  const int64_t channels = at.maps.channels;
  const Array x = random(at.maps.batch * channels * at.maps.positions), shortcut = random(x.size());
  const Array weight1 = random(channels * at.hidden), weight2 = random(channels * at.hidden), gamma(channels);
  const Array bias1 = random(at.hidden), bias2 = random(channels), keep(at.maps.batch, 2.f);
  const float* kept = with_keep ? keep.data() : nullptr;
  Array out(x.size()), grad_x(x.size()), grad_weight1(weight1.size()), grad_weight2(weight1.size());
  Array grad_bias1(at.hidden), grad_bias2(channels), grad_gamma(channels);
  bottleneck_forward(at, Activation::gelu, x.data(), weight1.data(), bias1.data(), weight2.data(), bias2.data(),
                     gamma.data(), kept, shortcut.data(), out.data());
  bottleneck_backward(at, Activation::gelu, x.data(), weight1.data(), bias1.data(), weight2.data(), bias2.data(),
                      gamma.data(), kept, shortcut.data(), grad_x.data(), grad_weight1.data(), grad_bias1.data(),
                      grad_weight2.data(), grad_bias2.data(), grad_gamma.data());
  record({out, grad_x, grad_weight1, grad_bias1, grad_weight2, grad_bias2, grad_gamma});
  require(dot(out, out), dot(shortcut, shortcut), 0, "bottleneck");
  require(dot(grad_x, grad_x) + dot(grad_weight1, grad_weight1), 0, 0, "bottleneck");
  layer_scale_forward(at.maps, x.data(), gamma.data(), kept, shortcut.data(), out.data());
  layer_scale_backward(at.maps, x.data(), gamma.data(), kept, shortcut.data(), grad_x.data(), grad_gamma.data());
  record({out, grad_x, grad_gamma});
  require(dot(out, out), dot(shortcut, shortcut), 0, "layer_scale");
  require(dot(grad_gamma, Array(channels, 1.f)), dot(x, shortcut) * (kept ? 2 : 1), 1e-3 * x.size(), "layer_scale");
}

// Lengths of the query's rows do not count.
void attention(const Attention& at) {
  const int64_t size = at.width * at.positions;
  const Array qkv = random(at.batch * at.heads * 3 * size), grad_out = random(at.batch * at.heads * size);
  const Array temperature = random(at.heads);
  Array out(grad_out.size()), grad_qkv(qkv.size()), grad_temperature(at.heads);
  attention_forward(at, qkv.data(), temperature.data(), out.data());
  attention_backward(at, qkv.data(), temperature.data(), grad_out.data(), grad_qkv.data(), grad_temperature.data());
  record({out, grad_qkv, grad_temperature});
  double along = 0;
  for (int64_t i = 0; i < at.heads * size; ++i) along += double(qkv[i]) * grad_qkv[i];
  require(along, 0, 1e-3 * size, "attention");
}

// The gradients are those of a step along them.
void shift_max(int64_t batch, int64_t positions, int64_t fusions) {
  const int64_t channels = 6, hidden = 4, gate_count = 2 * fusions * channels;
  const int64_t shift[] = {4, 5, 3, 1, 2, 0};
  const Array lowest(gate_count, -1.f), x = random(batch * channels * positions), grad_out = random(x.size());
  const Array squeeze = random(channels * hidden), squeeze_bias = random(hidden);
  const Array excite = random(hidden * gate_count), excite_bias = random(gate_count);
  const ShiftMax layer{batch, channels, positions, hidden, fusions, shift, 4.f, lowest.data()};
  const Excitation excitation{squeeze.data(), squeeze_bias.data(), excite.data(), excite_bias.data()};
  Array means(batch * channels), units(batch * hidden), gates(batch * gate_count), out(x.size());
  Array grad_x(x.size()), grad_squeeze(squeeze.size()), grad_squeeze_bias(hidden);
  Array grad_excite(excite.size()), grad_excite_bias(gate_count);
  const auto run = [&](const Array& at) {
    shift_max_forward(layer, at.data(), excitation, means.data(), units.data(), gates.data(), out.data());
    return dot(out, grad_out);
  };
  run(x);
  shift_max_backward(layer, x.data(), excitation, means.data(), units.data(), gates.data(), grad_out.data(),
                     grad_x.data(), {grad_squeeze.data(), grad_squeeze_bias.data(), grad_excite.data(),
                     grad_excite_bias.data()});
  record({means, units, gates, out, grad_x, grad_squeeze, grad_squeeze_bias, grad_excite, grad_excite_bias});
  const double size = std::sqrt(dot(grad_x, grad_x)), step = 1e-4;
  Array ahead = x, behind = x;
  for (size_t i = 0; i < x.size(); ++i) {
    ahead[i] += step * grad_x[i] / size;
    behind[i] -= step * grad_x[i] / size;
  }
  require((run(ahead) - run(behind)) / (2 * step), size, 0.05 * size, "shift_max");
}

}  // namespace

int main(int, char** paths) {
  int64_t turn = 0;
  for (const Pair kernel : {Pair{3, 3}, {5, 5}, {9, 9}, {5, 1}, {1, 3}, {4, 2}})
    for (const Pair stride : {Pair{1, 1}, {2, 2}, {1, 2}, {3, 2}})
      for (const Pair plane : {Pair{1, 1}, {2, 3}, {7, 7}, {13, 20}}) {
        const Pair paddings[] = {{kernel.height / 2, kernel.width / 2}, {0, 0}, {kernel.height - 1, kernel.width - 1}};
        const Pair padding = paddings[++turn % 3];
        if (plane.height + 2 * padding.height >= kernel.height && plane.width + 2 * padding.width >= kernel.width)
          depthwise(turn % 2 ? 1 : 9, 1 + turn % 4, plane, kernel, stride, padding);
      }
  depthwise(2, 2, {40, 70}, {5, 5}, {2, 1}, {2, 2});  // in strips
  for (const Pair kernel : {Pair{1, 1}, {3, 3}, {4, 4}, {2, 1}})
    for (const Pair stride : {Pair{1, 1}, {2, 2}, {4, 3}})
      for (const Pair plane : {Pair{1, 1}, {2, 3}, {7, 7}, {13, 20}})
        for (const Pair& channels : {Pair{3, 16}, {40, 29}, {1, 1}}) {
          const Pair paddings[] = {{kernel.height / 2, kernel.width / 2}, {0, 0}, {kernel.height - 1, kernel.width - 1}};
          const Pair padding = paddings[++turn % 3];
          const bool large = plane.width * channels.height * kernel.height * kernel.width > 2000;
          if (plane.height + 2 * padding.height >= kernel.height && plane.width + 2 * padding.width >= kernel.width)
            conv(1 + turn % (large ? 2 : 9), channels, plane, kernel, stride, padding, turn % 2, turn % 3);
        }
  for (const int64_t positions : {1, 6, 16, 49, 272})
    for (const int64_t batch : {1, 34}) norm_act(batch, positions);
  for (const int64_t positions : {1, 6, 49, 260})
    for (const int64_t channels : {1, 24, 37}) {
      const Planes at{1 + ++turn % 9, channels, positions};
      layer_norm(at);
      bottleneck({at, 3 * channels + 1}, turn % 2);
      attention({at.batch, 1 + turn % 3, channels, positions});
    }
  for (const int64_t positions : {1, 5, 16, 49})
    for (const int64_t fusions : {1, 2}) shift_max(1 + ++turn % 3, positions, fusions);
  std::ofstream(paths[1], std::ios::binary)
      .write(reinterpret_cast<const char*>(results.data()), results.size() * sizeof(float));
  std::puts("all kernels ran");
}
