// Batch norm with activation of small planes, of which several fill a vector.
//
// The planes of some channels of an image lie one after the other and are a row. Each element of a row has its own
// sums over the images, and its channel's coefficients in arrays as long as the row.

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "activations.h"
#include "norm_act.h"
#include "rounding.h"
#include "simd.h"

namespace {

constexpr int64_t kRow = 128;          // elements, or one plane
constexpr int64_t kImagesPerSum = 32;  // in single precision

struct Row {
  Row(const Planes& at, int64_t task)
      : batch(at.batch), positions(at.positions), step(at.channels * positions), first(task * channels_of(at)),
        channels(std::min(channels_of(at), at.channels - first)), length(channels * positions) {}
  static int64_t channels_of(const Planes& at) { return std::max<int64_t>(1, kRow / at.positions); }
  static int64_t tasks(const Planes& at) { return divide_up(at.channels, channels_of(at)); }

  int64_t batch, positions, step, first, channels, length;
};

// A value for each element of a row, in whole vectors.
struct Values {
  explicit Values(const Row& row) : row(row), vectors(divide_up(row.length, kLanes)) {}
  void set(int64_t channel, float value) {
    for (int64_t f = channel * row.positions; f < (channel + 1) * row.positions; ++f)
      vectors[f / kLanes][f % kLanes] = value;
  }
  const Row& row;
  std::vector<Vec> vectors;
};

// Call body(place in the map, vector of the row, elements) for images [begin, end).
template <typename Body>
void for_each_vector(const Row& row, int64_t begin, int64_t end, Body body) {
  for (int64_t n = begin; n < end; ++n) {
    const int64_t place = n * row.step + row.first * row.positions;
    int64_t f = 0;
    for (; f + kLanes <= row.length; f += kLanes)
      body(place + f, f / kLanes, std::integral_constant<int64_t, kLanes>());
    if (f < row.length) body(place + f, f / kLanes, row.length - f);
  }
}

// For each channel of a row end(channel, the sum of a, the sum of b), where terms(place, vector, elements, a, b) adds
// an image's.
template <typename Terms, typename End>
void sum(const Row& row, Terms terms, End end) {
  std::vector<double> totals(2 * row.length);
  for (int64_t n = 0; n < row.batch; n += kImagesPerSum) {
    Values a(row), b(row);
    for_each_vector(row, n, std::min(row.batch, n + kImagesPerSum), [&](int64_t place, int64_t v, auto count) {
      terms(place, v, count, a.vectors[v], b.vectors[v]);
    });
    for (int64_t f = 0; f < row.length; ++f) {
      totals[f] += a.vectors[f / kLanes][f % kLanes];
      totals[row.length + f] += b.vectors[f / kLanes][f % kLanes];
    }
  }
  for (int64_t c = 0; c < row.channels; ++c) {
    const double* of_channel = totals.data() + c * row.positions;
    end(c, std::accumulate(of_channel, of_channel + row.positions, 0.),
        std::accumulate(of_channel + row.length, of_channel + row.length + row.positions, 0.));
  }
}

template <typename Act>
void forward(const Planes& at, const float* x, const Norm& norm, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < Row::tasks(at); ++task) {
    const Row row(at, task);
    Values centre(row), scale(row), shift(row);
    std::vector<float> centres(row.channels);
    for (int64_t c = 0; c < row.channels; ++c) {
      const float* plane = x + (row.first + c) * at.positions;
      centres[c] = std::accumulate(plane, plane + at.positions, 0.f) / at.positions;
      centre.set(c, centres[c]);
    }
    sum(
        row,
        [&](int64_t place, int64_t v, auto count, Vec& differences, Vec& squares) {
          const Vec difference = load_first(x + place, count) - centre.vectors[v];
          differences += difference;
          squares += difference * difference;
        },
        [&](int64_t c, double differences, double squares) {
          norm.set(row.first + c, centres[c], differences, squares, at.batch * at.positions);
          const Affine affine(norm.gamma, norm.beta, norm.mean, norm.inverse_std, row.first + c);
          scale.set(c, affine.scale);
          shift.set(c, affine.shift);
        });
    for_each_vector(row, 0, at.batch, [&](int64_t place, int64_t v, auto count) {
      store_first(out + place, Act::value(load_first(x + place, count) * scale.vectors[v] + shift.vectors[v]), count);
    });
  }
}

template <typename Act>
void backward(const Planes& at, const float* x, const float* gamma, const float* beta, const float* mean,
              const float* inverse_std, const float* grad_out, float* grad_x, float* grad_gamma, float* grad_beta) {
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < Row::tasks(at); ++task) {
    const Row row(at, task);
    Values middle(row), scale(row), shift(row), centre(row), lean(row);
    for (int64_t c = 0; c < row.channels; ++c) {
      const Affine affine(gamma, beta, mean, inverse_std, row.first + c);
      middle.set(c, mean[row.first + c]);
      scale.set(c, affine.scale);
      shift.set(c, affine.shift);
    }
    const auto grad_of = [&](int64_t place, int64_t v, auto count, Vec value) {
      return load_first(grad_out + place, count) * Act::slope(value * scale.vectors[v] + shift.vectors[v]);
    };
    sum(
        row,
        [&](int64_t place, int64_t v, auto count, Vec& grads, Vec& products) {
          const Vec value = load_first(x + place, count), grad = grad_of(place, v, count, value);
          if (Act::kCostly) store_first(grad_x + place, grad, count);
          grads += grad;
          products += grad * (value - middle.vectors[v]);
        },
        [&](int64_t c, double grads, double products) {
          const float inverse = inverse_std[row.first + c];
          const Gradient gradient(grads, products, at.batch * at.positions, inverse);
          grad_beta[row.first + c] = grads;
          grad_gamma[row.first + c] = products * inverse;
          centre.set(c, gradient.centre);
          lean.set(c, gradient.lean);
        });
    for_each_vector(row, 0, at.batch, [&](int64_t place, int64_t v, auto count) {
      const Vec value = load_first(x + place, count);
      const Vec grad = Act::kCostly ? load_first(grad_x + place, count) : grad_of(place, v, count, value);
      const Vec along = (value - middle.vectors[v]) * lean.vectors[v];
      store_first(grad_x + place, scale.vectors[v] * (grad - centre.vectors[v] - along), count);
    });
  }
}

}  // namespace

void small_norm_act_forward(const Planes& at, Activation activation, const float* x, const Norm& norm, float* out) {
  with_activation(activation, [&](auto act) { forward<decltype(act)>(at, x, norm, out); });
}

void small_norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                             const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                             float* grad_x, float* grad_gamma, float* grad_beta) {
  with_activation(activation, [&](auto act) {
    backward<decltype(act)>(at, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma, grad_beta);
  });
}
