// Dynamic Shift-Max of MicroNet in training: the mean of each plane, two linear layers that make the coefficients of
// its fusions, and the largest fusion, in one pass over an image; backward in two.

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "simd.h"

namespace {

constexpr float kSlope = 0.1666667f;  // of Paddle's hard sigmoid

// Call body(p, read) for the vectors of a plane, then for the elements that fill none; read(plane) is what is at p.
template <typename Body>
inline void along(int64_t positions, Body body) {
  int64_t p = 0;
  for (; p + kLanes <= positions; p += kLanes)
    body(p, [p](const float* plane) __attribute__((always_inline)) { return load(plane + p); });
  for (; p < positions; ++p) body(p, [p](const float* plane) __attribute__((always_inline)) { return plane[p]; });
}

inline void write(float* to, Vec value) { store(to, value); }
inline void write(float* to, float value) { *to = value; }

// A sum of vectors and of elements; lanes are summed where there are vectors, which costs more than few elements.
struct Sum {
  void add(Vec value) { vector += value; }
  void add(float value) { rest += value; }
  float total(int64_t positions) const { return positions < kLanes ? rest : sum_lanes(vector) + rest; }
  Vec vector = {};
  float rest = 0.f;
};

// Coefficients of channel c: fusion k is own[k] x[c] + other[k] x[shift[c]].
template <int fusions>
struct Coefficients {
  Coefficients(const ShiftMax& layer, const float* gates, int64_t c) {
    for (int k = 0; k < fusions; ++k) {
      own[k] = coefficient(layer, gates, 2 * k * layer.channels + c);
      other[k] = coefficient(layer, gates, (2 * k + 1) * layer.channels + c);
    }
  }
  static float coefficient(const ShiftMax& layer, const float* gates, int64_t i) {
    return gates[i] * layer.range + layer.lowest[i];
  }
  template <typename T>
  T fusion(int k, T x, T shifted) const {
    return x * own[k] + shifted * other[k];
  }
  // What the fusion that is largest has in `of`; the last one where they are equal, as Paddle's maximum has it.
  template <typename T>
  T chosen(const float* of, T x, T shifted) const {
    if constexpr (fusions == 1) {
      return T{} + of[0];
    } else {
      return fusion(0, x, shifted) > fusion(1, x, shifted) ? T{} + of[0] : T{} + of[1];
    }
  }
  float own[fusions], other[fusions];
};

// sums[o] = bias[o] + the sum over i of x[i] weight[i][o]
void linear(const float* x, int64_t inputs, const float* weight, const float* bias, int64_t outputs, float* sums) {
  std::copy_n(bias, outputs, sums);
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t o = 0; o < outputs; ++o) sums[o] += x[i] * weight[i * outputs + o];
}

// The gradients of x, where `grad` is that of the sums.
void linear_grad_x(const float* grad, int64_t inputs, const float* weight, int64_t outputs, float* grad_x) {
  for (int64_t i = 0; i < inputs; ++i) {
    Vec sum = {};
    int64_t o = 0;
    for (; o + kLanes <= outputs; o += kLanes) sum += load(grad + o) * load(weight + i * outputs + o);
    float rest = 0.f;
    for (; o < outputs; ++o) rest += grad[o] * weight[i * outputs + o];
    grad_x[i] = sum_lanes(sum) + rest;
  }
}

// The gradients of weight and bias, of all images.
void linear_grad_weight(int64_t batch, const float* x, int64_t inputs, const float* grad, int64_t outputs,
                        float* grad_weight, float* grad_bias) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i <= inputs; ++i) {
    float* sums = i < inputs ? grad_weight + i * outputs : grad_bias;
    std::fill_n(sums, outputs, 0.f);
    for (int64_t n = 0; n < batch; ++n) {
      const float value = i < inputs ? x[n * inputs + i] : 1.f;
      for (int64_t o = 0; o < outputs; ++o) sums[o] += value * grad[n * outputs + o];
    }
  }
}

template <int fusions>
void forward(const ShiftMax& layer, const float* x, const Excitation& excitation, float* means, float* hidden,
             float* gates, float* out) {
  const int64_t channels = layer.channels, positions = layer.positions, gate_count = 2 * fusions * channels;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < layer.batch; ++n) {
    const float* image = x + n * channels * positions;
    float *mean = means + n * channels, *unit = hidden + n * layer.hidden, *gate = gates + n * gate_count;
    for (int64_t c = 0; c < channels; ++c) {
      Sum sum;
      along(positions, [&](int64_t, auto read) { sum.add(read(image + c * positions)); });
      mean[c] = sum.total(positions) / positions;
    }
    linear(mean, channels, excitation.squeeze, excitation.squeeze_bias, layer.hidden, unit);
    for (int64_t h = 0; h < layer.hidden; ++h) unit[h] = std::max(unit[h], 0.f);
    linear(unit, layer.hidden, excitation.excite, excitation.excite_bias, gate_count, gate);
    for (int64_t i = 0; i < gate_count; ++i) gate[i] = std::min(std::max(gate[i] * kSlope + 0.5f, 0.f), 1.f);
    for (int64_t c = 0; c < channels; ++c) {
      const Coefficients<fusions> of(layer, gate, c);
      const float *own = image + c * positions, *other = image + layer.shift[c] * positions;
      float* plane = out + (n * channels + c) * positions;
      along(positions, [&](int64_t p, auto read) {
        const auto value = read(own), shifted = read(other);
        auto largest = of.fusion(0, value, shifted);
        if constexpr (fusions == 2) {
          const auto second = of.fusion(1, value, shifted);
          largest = largest > second ? largest : second;
        }
        write(plane + p, largest);
      });
    }
  }
}

template <int fusions>
void backward(const ShiftMax& layer, const float* x, const Excitation& excitation, const float* means,
              const float* hidden, const float* gates, const float* grad_out, float* grad_x,
              const ExcitationGradient& grads) {
  const int64_t channels = layer.channels, positions = layer.positions, gate_count = 2 * fusions * channels;
  std::vector<int64_t> readers(channels);  // the channel that a channel is shifted to
  for (int64_t c = 0; c < channels; ++c) readers[layer.shift[c]] = c;
  std::vector<float> gate_grads(layer.batch * gate_count), hidden_grads(layer.batch * layer.hidden);
#pragma omp parallel
  {
    std::vector<float> mean_grad(channels);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < layer.batch; ++n) {
      const float *image = x + n * channels * positions, *grad_image = grad_out + n * channels * positions;
      const float* gate = gates + n * gate_count;
      float *gate_grad = &gate_grads[n * gate_count], *hidden_grad = &hidden_grads[n * layer.hidden];
      for (int64_t c = 0; c < channels; ++c) {
        const Coefficients<fusions> of(layer, gate, c);
        const float *own = image + c * positions, *other = image + layer.shift[c] * positions;
        // All of the gradient goes to the fusions together, and the first one's part is `first`.
        Sum own_sum, other_sum, own_first, other_first;
        constexpr float first[2] = {1.f, 0.f};
        along(positions, [&](int64_t, auto read) {
          const auto value = read(own), shifted = read(other), grad = read(grad_image + c * positions);
          own_sum.add(grad * value);
          other_sum.add(grad * shifted);
          if constexpr (fusions == 2) {
            const auto part = grad * of.chosen(first, value, shifted);
            own_first.add(part * value);
            other_first.add(part * shifted);
          }
        });
        float own_left = own_sum.total(positions), other_left = other_sum.total(positions);
        if constexpr (fusions == 2) {
          gate_grad[c] = own_first.total(positions);
          gate_grad[channels + c] = other_first.total(positions);
          own_left -= gate_grad[c];
          other_left -= gate_grad[channels + c];
        }
        gate_grad[(2 * fusions - 2) * channels + c] = own_left;
        gate_grad[(2 * fusions - 1) * channels + c] = other_left;
      }
      for (int64_t i = 0; i < gate_count; ++i)
        gate_grad[i] *= gate[i] > 0.f && gate[i] < 1.f ? layer.range * kSlope : 0.f;
      linear_grad_x(gate_grad, layer.hidden, excitation.excite, gate_count, hidden_grad);
      for (int64_t h = 0; h < layer.hidden; ++h)
        if (hidden[n * layer.hidden + h] <= 0.f) hidden_grad[h] = 0.f;
      linear_grad_x(hidden_grad, channels, excitation.squeeze, layer.hidden, mean_grad.data());
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t reader = readers[c];
        const Coefficients<fusions> of(layer, gate, c), of_reader(layer, gate, reader);
        const float *own = image + c * positions, *other = image + layer.shift[c] * positions;
        const float *read_by = image + reader * positions, each = mean_grad[c] / positions;
        float* plane = grad_x + (n * channels + c) * positions;
        along(positions, [&](int64_t p, auto read) {
          const auto value = read(own);
          const auto grad = read(grad_image + c * positions) * of.chosen(of.own, value, read(other));
          const auto from_reader =
              read(grad_image + reader * positions) * of_reader.chosen(of_reader.other, read(read_by), value);
          write(plane + p, grad + from_reader + each);
        });
      }
    }
  }
  linear_grad_weight(layer.batch, means, channels, hidden_grads.data(), layer.hidden, grads.squeeze,
                     grads.squeeze_bias);
  linear_grad_weight(layer.batch, hidden, layer.hidden, gate_grads.data(), gate_count, grads.excite,
                     grads.excite_bias);
}

}  // namespace

void shift_max_forward(const ShiftMax& layer, const float* x, const Excitation& excitation, float* means,
                       float* hidden, float* gates, float* out) {
  const auto run = layer.fusions == 1 ? forward<1> : forward<2>;
  run(layer, x, excitation, means, hidden, gates, out);
}

void shift_max_backward(const ShiftMax& layer, const float* x, const Excitation& excitation, const float* means,
                        const float* hidden, const float* gates, const float* grad_out, float* grad_x,
                        const ExcitationGradient& grads) {
  const auto run = layer.fusions == 1 ? backward<1> : backward<2>;
  run(layer, x, excitation, means, hidden, gates, grad_out, grad_x, grads);
}
