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

// The gradient is the slope of `function` along it.
template <typename Function>
void require_slope(Function function, const Array& x, const Array& grad_x, const char* what) {
  const double size = std::sqrt(dot(grad_x, grad_x)), step = 1e-4;
  Array ahead = x, behind = x;
  for (size_t i = 0; i < x.size(); ++i) {
    ahead[i] += step * grad_x[i] / size;
    behind[i] -= step * grad_x[i] / size;
  }
  require((function(ahead) - function(behind)) / (2 * step), size, 0.05 * size, what);
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
  conv_forward(conv, x.data(), weight.data(), bias.data(), nullptr, out.data());
  conv_backward(conv, x.data(), weight.data(), grad_out.data(), grad_x.data(), grad_weight.data(), grad_bias.data());
  require_adjoint(out, grad_out, x, grad_x, weight, grad_weight, "conv");
  const Array shortcut(out.size());
  conv_forward(conv, x.data(), weight.data(), nullptr, shortcut.data(), out.data());
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
  require_slope(run, x, grad_x, "shift_max");
}

void add(const Array& term, Array* sum) {
  for (size_t i = 0; i < term.size(); ++i) (*sum)[i] += term[i];
}

Array random_weight(int64_t outputs, int64_t inputs) {
  Array weight = random(outputs * inputs);
  for (float& value : weight) value /= std::sqrt(float(inputs));
  return weight;
}

// A batch norm with its activation, and what it keeps for the gradient.
struct NormAct {
  Planes at;
  Activation activation;
  Array gamma = random(at.channels), beta = random(at.channels), mean = Array(at.channels), inverse_std = mean;
  Array running_mean = mean, running_variance = mean, grad_gamma = mean, grad_beta = mean;

  void forward(const Array& x, Array* out) {
    norm_act_forward(at, activation, x.data(), gamma.data(), beta.data(), 1e-5f, 0.9f, running_mean.data(),
                     running_variance.data(), mean.data(), inverse_std.data(), out->data());
  }
  void backward(const Array& x, const Array& grad_out, Array* grad_x) {
    norm_act_backward(at, activation, x.data(), gamma.data(), beta.data(), mean.data(), inverse_std.data(),
                      grad_out.data(), grad_x->data(), grad_gamma.data(), grad_beta.data());
  }
};

constexpr Pair kMap{9, 7};
constexpr int64_t kPositions = 63, kImages = 2;

Conv same_conv(int64_t inputs, int64_t outputs, int64_t kernel, int64_t carried) {
  return {kImages, inputs, outputs, kMap, kMap, {kernel, kernel}, {1, 1}, {kernel / 2, kernel / 2}, false, carried};
}

// A block of FasterNet in training: partial convolution, two 1x1 convolutions, shortcut.
void fasternet_block() {
  const int64_t channels = 20, part = 5, hidden = 40;
  const Conv partial = same_conv(part, part, 3, channels - part), wide = same_conv(channels, hidden, 1, 0),
             narrow = same_conv(hidden, channels, 1, 0);
  const Array x = random(kImages * channels * kPositions), grad_out = random(x.size());
  const Array weights[] = {random_weight(part, 9 * part), random_weight(hidden, channels), random_weight(channels, hidden)};
  NormAct norm{{kImages, hidden, kPositions}, Activation::relu};
  Array mixed(x.size()), expanded(kImages * hidden * kPositions), active = expanded, out(x.size());
  const auto run = [&](const Array& at) {
    conv_forward(partial, at.data(), weights[0].data(), nullptr, nullptr, mixed.data());
    conv_forward(wide, mixed.data(), weights[1].data(), nullptr, nullptr, expanded.data());
    norm.forward(expanded, &active);
    conv_forward(narrow, active.data(), weights[2].data(), nullptr, at.data(), out.data());
    return dot(out, grad_out);
  };
  run(x);
  Array grad_active = active, grad_expanded = active, grad_mixed = x, grad_x = x;
  Array grads[] = {weights[0], weights[1], weights[2]};
  conv_backward(narrow, active.data(), weights[2].data(), grad_out.data(), grad_active.data(), grads[2].data(), nullptr);
  norm.backward(expanded, grad_active, &grad_expanded);
  conv_backward(wide, mixed.data(), weights[1].data(), grad_expanded.data(), grad_mixed.data(), grads[1].data(), nullptr);
  conv_backward(partial, x.data(), weights[0].data(), grad_mixed.data(), grad_x.data(), grads[0].data(), nullptr);
  add(grad_out, &grad_x);
  record({out, grad_x, grads[0], grads[1], grads[2], norm.grad_gamma, norm.grad_beta});
  require_slope(run, x, grad_x, "fasternet_block");
}

// One of PP-LCNet: depthwise and 1x1 convolution, each with batch norm and Hardswish.
void lcnet_block() {
  const int64_t channels = 20, outputs = 24;
  const Depthwise depthwise{kImages, channels, 1, kMap, kMap, {3, 3}, {1, 1}, {1, 1}};
  const Conv pointwise = same_conv(channels, outputs, 1, 0);
  const Array x = random(kImages * channels * kPositions), grad_out = random(kImages * outputs * kPositions);
  const Array taps = random_weight(channels, 9), weight = random_weight(outputs, channels), none(channels);
  NormAct first{{kImages, channels, kPositions}, Activation::hardswish};
  NormAct second{{kImages, outputs, kPositions}, Activation::hardswish};
  Array filtered(x.size()), active = filtered, mixed(grad_out.size()), out = mixed;
  const auto run = [&](const Array& at) {
    depthwise_forward(depthwise, at.data(), taps.data(), none.data(), filtered.data());
    first.forward(filtered, &active);
    conv_forward(pointwise, active.data(), weight.data(), nullptr, nullptr, mixed.data());
    second.forward(mixed, &out);
    return dot(out, grad_out);
  };
  run(x);
  Array grad_mixed = mixed, grad_active = x, grad_filtered = x, grad_x = x, grad_weight = weight, grad_taps = taps;
  Array grad_none = none;
  second.backward(mixed, grad_out, &grad_mixed);
  conv_backward(pointwise, active.data(), weight.data(), grad_mixed.data(), grad_active.data(), grad_weight.data(), nullptr);
  first.backward(filtered, grad_active, &grad_filtered);
  depthwise_backward(depthwise, x.data(), taps.data(), grad_filtered.data(), grad_x.data(), grad_taps.data(), grad_none.data());
  record({out, grad_x, grad_taps, grad_weight, first.grad_gamma, second.grad_beta});
  require_slope(run, x, grad_x, "lcnet_block");
}

// One of EdgeNeXt: attention between channels, then the inverted bottleneck, each behind a layer norm, with a shortcut.
void edgenext_block() {
  const int64_t channels = 24, hidden = 96, size = kImages * channels * kPositions;
  const Planes maps{kImages, channels, kPositions};
  const Conv to_qkv = same_conv(channels, 3 * channels, 1, 0), projection = same_conv(channels, channels, 1, 0);
  const Attention heads{kImages, 4, channels / 4, kPositions};
  const Bottleneck bottleneck{maps, hidden};
  const Array x = random(size), grad_out = random(size), temperature(4, 1.5f), gamma = random(channels), beta = random(channels);
  const Array qkv_weight = random_weight(3 * channels, channels), out_weight = random_weight(channels, channels);
  const Array weight1 = random_weight(channels, hidden), weight2 = random_weight(hidden, channels), bias1 = random(hidden);
  Array normed(size), qkv(3 * size), attended(size), projected(size), middle(size), again(size), out(size);
  const auto run = [&](const Array& at) {
    layer_norm_forward(maps, at.data(), gamma.data(), beta.data(), 1e-6f, normed.data());
    conv_forward(to_qkv, normed.data(), qkv_weight.data(), nullptr, nullptr, qkv.data());
    attention_forward(heads, qkv.data(), temperature.data(), attended.data());
    conv_forward(projection, attended.data(), out_weight.data(), nullptr, nullptr, projected.data());
    layer_scale_forward(maps, projected.data(), gamma.data(), nullptr, at.data(), middle.data());
    layer_norm_forward(maps, middle.data(), gamma.data(), beta.data(), 1e-6f, again.data());
    bottleneck_forward(bottleneck, Activation::gelu, again.data(), weight1.data(), bias1.data(), weight2.data(),
                       beta.data(), gamma.data(), nullptr, middle.data(), out.data());
    return dot(out, grad_out);
  };
  run(x);
  Array grad_again(size), grad_middle(size), grad_projected(size), grad_attended(size), grad_qkv(3 * size);
  Array grad_normed(size), grad_x(size), grad1 = weight1, grad2 = weight2, grad_bias1 = bias1, grad_bias2 = beta;
  Array grad_gamma = gamma, grad_beta = beta, grad_out_weight = out_weight, grad_qkv_weight = qkv_weight;
  Array grad_temperature = temperature;
  bottleneck_backward(bottleneck, Activation::gelu, again.data(), weight1.data(), bias1.data(), weight2.data(),
                      beta.data(), gamma.data(), nullptr, grad_out.data(), grad_again.data(), grad1.data(),
                      grad_bias1.data(), grad2.data(), grad_bias2.data(), grad_gamma.data());
  layer_norm_backward(maps, middle.data(), gamma.data(), 1e-6f, grad_again.data(), grad_middle.data(),
                      grad_gamma.data(), grad_beta.data());
  add(grad_out, &grad_middle);
  layer_scale_backward(maps, projected.data(), gamma.data(), nullptr, grad_middle.data(), grad_projected.data(),
                       grad_gamma.data());
  conv_backward(projection, attended.data(), out_weight.data(), grad_projected.data(), grad_attended.data(),
                grad_out_weight.data(), nullptr);
  attention_backward(heads, qkv.data(), temperature.data(), grad_attended.data(), grad_qkv.data(), grad_temperature.data());
  conv_backward(to_qkv, normed.data(), qkv_weight.data(), grad_qkv.data(), grad_normed.data(), grad_qkv_weight.data(), nullptr);
  layer_norm_backward(maps, x.data(), gamma.data(), 1e-6f, grad_normed.data(), grad_x.data(), grad_gamma.data(),
                      grad_beta.data());
  add(grad_middle, &grad_x);
  record({out, grad_x, grad1, grad2, grad_bias1, grad_out_weight, grad_qkv_weight, grad_temperature});
  require_slope(run, x, grad_x, "edgenext_block");
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
  fasternet_block();
  lcnet_block();
  edgenext_block();
  std::ofstream(paths[1], std::ios::binary)
      .write(reinterpret_cast<const char*>(results.data()), results.size() * sizeof(float));
  std::puts("all kernels ran");
}
