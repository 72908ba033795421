// The inverted bottleneck of EdgeNeXt's encoders with its shortcut: out = shortcut + keep gamma (W2' act(W1' x + b1) + b2).
//
// The hidden maps are several times as large as those around them, and would be most of the memory traffic of a
// training step. Here they never leave the cache: a tile of columns goes all the way, and the gradient computes its
// hidden values anew.

#include <algorithm>
#include <memory>
#include <vector>

#include "activations.h"
#include "columns.h"
#include "kernels.h"
#include "product.h"
#include "rounding.h"
#include "simd.h"
#include "transpose.h"

namespace {


// Call body(row, place) for each vector of a tile of `rows`.
template <typename Body>
inline void for_each_vector(int64_t rows, Body body) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < kVectors; ++v) body(r, r * kColumns + v * kLanes);
}

// A tile of `step` rows with rows and columns exchanged.
void turn(const float* columns, int64_t step, float* rows) {
  for (int64_t c = 0; c < step; c += kLanes)
    for (int64_t p = 0; p < kColumns; p += kLanes) transpose(columns + c * kColumns + p, kColumns, rows + p * step + c, step);
}

// hidden = W1' x
void expand(const Bottleneck& at, const float* weight, const float* columns, float* hidden) {
  multiply(at.hidden, kVectors, at.maps.channels, {weight, 1, at.hidden}, columns, kColumns, hidden, kColumns, false);
}

template <typename Act>
void forward(const Bottleneck& at, const float* x, const float* weight1, const float* bias1, const float* weight2,
             const float* bias2, const float* gamma, const float* keep, const float* shortcut, float* out) {
  const int64_t channels = at.maps.channels, positions = at.maps.positions;
#pragma omp parallel
  {
    std::vector<float> columns(channels * kColumns), hidden(at.hidden * kColumns);
#pragma omp for schedule(static)
    for (int64_t tile = 0; tile < tile_count(at.maps); ++tile) {
      read_columns(at.maps, tile, x, columns.data());
      expand(at, weight1, columns.data(), hidden.data());
      for_each_vector(at.hidden, [&](int64_t j, int64_t p) {
        store(&hidden[p], Act::value(load(&hidden[p]) + bias1[j]));
      });
      multiply(channels, kVectors, at.hidden, {weight2, 1, channels}, hidden.data(), kColumns, columns.data(), kColumns,
               false);
      for_each_run(at.maps, tile, [&](int64_t n, int64_t offset, int64_t place, int64_t count) {
        for (int64_t c = 0; c < channels; ++c) {
          const float scale = keep ? gamma[c] * keep[n] : gamma[c], shift = scale * bias2[c];
          const float *branch = &columns[c * kColumns + place], *from = shortcut + offset + c * positions;
          float* to = out + offset + c * positions;
          for (int64_t i = 0; i < count; ++i) to[i] = from[i] + (branch[i] * scale + shift);
        }
      });
    }
  }
}

// Sums over the columns of a part of the tiles.
//
// The gradient of weight2 is gamma times `second`, and that of gamma is the sum of weight2 times `second`: the branch
// itself is not computed anew.
struct Sums {
  Sums(const Bottleneck& at)
      : step(round_up(at.maps.channels, kLanes)), first(at.hidden * step), second(at.hidden * step),
        bias1(at.hidden), grad(at.maps.channels) {}
  int64_t step;  // of the rows, one for each hidden channel
  std::vector<float> first, second;  // of the gradient at the hidden values times x; of them times keep grad_out
  std::vector<Vec> bias1, grad;      // of the gradient at the hidden values; of keep grad_out
};

template <typename Act>
void sum_gradients(const Bottleneck& at, int64_t tile, const float* x, const float* weight1, const float* bias1,
                   const float* weight2, const float* gamma, const float* keep, const float* grad_out, float* grad_x,
                   Sums* sums, std::vector<float>* scratch) {
  // Rows past the last channel are zeros.
  const int64_t channels = at.maps.channels, small = sums->step * kColumns, large = at.hidden * kColumns;
  scratch->resize(3 * small + 2 * large);
  float *columns = scratch->data(), *grads = columns + small, *hidden = grads + small, *slopes = hidden + large;
  float* rows = slopes + large;
  const int64_t vectors = sums->step / kLanes;
  read_columns(at.maps, tile, x, columns);
  read_columns(at.maps, tile, grad_out, grads);
  if (keep)
    for_each_run(at.maps, tile, [&](int64_t n, int64_t, int64_t place, int64_t count) {
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < count; ++i) grads[c * kColumns + place + i] *= keep[n];
    });
  expand(at, weight1, columns, hidden);
  for_each_vector(at.hidden, [&](int64_t j, int64_t p) {
    const Vec value = load(hidden + p) + bias1[j];
    store(hidden + p, Act::value(value));
    store(slopes + p, Act::slope(value));
  });
  turn(grads, sums->step, rows);
  multiply(at.hidden, vectors, kColumns, {hidden, kColumns, 1}, rows, sums->step, sums->second.data(), sums->step, true);
  for_each_vector(channels, [&](int64_t c, int64_t p) {
    const Vec grad = load(grads + p);
    sums->grad[c] += grad;
    store(grads + p, grad * gamma[c]);
  });
  multiply(at.hidden, kVectors, channels, {weight2, channels, 1}, grads, kColumns, hidden, kColumns, false);
  for_each_vector(at.hidden, [&](int64_t j, int64_t p) {
    const Vec grad = load(hidden + p) * load(slopes + p);
    sums->bias1[j] += grad;
    store(hidden + p, grad);
  });
  turn(columns, sums->step, rows);
  multiply(at.hidden, vectors, kColumns, {hidden, kColumns, 1}, rows, sums->step, sums->first.data(), sums->step, true);
  multiply(channels, kVectors, at.hidden, {weight1, at.hidden, 1}, hidden, kColumns, grads, kColumns, false);
  write_columns(at.maps, tile, grads, grad_x);
}

}  // namespace

void bottleneck_forward(const Bottleneck& at, Activation activation, const float* x, const float* weight1,
                        const float* bias1, const float* weight2, const float* bias2, const float* gamma,
                        const float* keep, const float* shortcut, float* out) {
  with_activation(activation, [&](auto act) {
    forward<decltype(act)>(at, x, weight1, bias1, weight2, bias2, gamma, keep, shortcut, out);
  });
}

void bottleneck_backward(const Bottleneck& at, Activation activation, const float* x, const float* weight1,
                         const float* bias1, const float* weight2, const float* bias2, const float* gamma,
                         const float* keep, const float* grad_out, float* grad_x, float* grad_weight1,
                         float* grad_bias1, float* grad_weight2, float* grad_bias2, float* grad_gamma) {
  const int64_t tiles = tile_count(at.maps);
  // A part has sums as large as the weights, which are to be less than its work.
  const int64_t parts = std::max(std::min<int64_t>(tiles, 2), std::min(tiles / 3, kParts));
  std::vector<std::unique_ptr<Sums>> sums(parts);
  with_activation(activation, [&](auto act) {
#pragma omp parallel
    {
      std::vector<float> scratch;
#pragma omp for schedule(static)
      for (int64_t part = 0; part < parts; ++part) {
        sums[part].reset(new Sums(at));
        for (int64_t tile = part * tiles / parts; tile < (part + 1) * tiles / parts; ++tile)
          sum_gradients<decltype(act)>(at, tile, x, weight1, bias1, weight2, gamma, keep, grad_out, grad_x,
                                       sums[part].get(), &scratch);
      }
    }
  });
  for (int64_t j = 0; j < at.hidden; ++j) {
    grad_bias1[j] = 0.f;
    for (const auto& part : sums) grad_bias1[j] += sum_lanes(part->bias1[j]);
  }
  const int64_t channels = at.maps.channels;
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < channels; begin += kLanes) {
    const int64_t end = std::min(begin + kLanes, channels);
    std::fill(grad_gamma + begin, grad_gamma + end, 0.f);
    for (int64_t j = 0; j < at.hidden; ++j) {
      Vec first = {}, second = {};
      for (const auto& part : sums) {
        first += load(&part->first[j * part->step + begin]);
        second += load(&part->second[j * part->step + begin]);
      }
      for (int64_t c = begin; c < end; ++c) {
        grad_weight1[c * at.hidden + j] = first[c - begin];
        grad_weight2[j * channels + c] = gamma[c] * second[c - begin];
        grad_gamma[c] += weight2[j * channels + c] * second[c - begin];
      }
    }
    for (int64_t c = begin; c < end; ++c) {
      float grad = 0.f;
      for (const auto& part : sums) grad += sum_lanes(part->grad[c]);
      grad_bias2[c] = gamma[c] * grad;
      grad_gamma[c] += bias2[c] * grad;
    }
  }
}
