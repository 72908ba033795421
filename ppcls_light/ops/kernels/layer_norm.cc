// Layer norm over the channels of (N, C, H, W), at each position by itself.
//
// Mean and deviation are not kept: the gradient needs the input in any case, and computes them anew in the cache.

#include <algorithm>
#include <vector>

#include "columns.h"
#include "kernels.h"
#include "simd.h"

namespace {

using Row = Vec[kVectors];  // a value for each column of a tile

// 1 / sqrt(value) for value > 0: an estimate by halving the exponent, and Newton's steps, each of which doubles the digits.
inline Vec inverse_root(Vec value) {
  Vec root = (Vec)(0x5f3759df - ((Mask)value >> 1));
  for (int step = 0; step < 3; ++step) root *= 1.5f - 0.5f * value * root * root;
  return root;
}

// Bring the columns of a tile to mean 0 and variance 1; `inverse_std` is what the differences were multiplied by.
void normalise(int64_t channels, float epsilon, float* columns, Row& inverse_std) {
  Row mean = {}, variance = {};
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t v = 0; v < kVectors; ++v) mean[v] += load(columns + c * kColumns + v * kLanes);
  for (Vec& value : mean) value *= 1.f / channels;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t v = 0; v < kVectors; ++v) {
      const Vec difference = load(columns + c * kColumns + v * kLanes) - mean[v];
      variance[v] += difference * difference;
    }
  for (int64_t v = 0; v < kVectors; ++v) inverse_std[v] = inverse_root(variance[v] * (1.f / channels) + epsilon);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t v = 0; v < kVectors; ++v) {
      float* place = columns + c * kColumns + v * kLanes;
      store(place, (load(place) - mean[v]) * inverse_std[v]);
    }
}

}  // namespace

void layer_norm_forward(const Planes& at, const float* x, const float* gamma, const float* beta, float epsilon,
                        float* out) {
#pragma omp parallel
  {
    std::vector<float> columns(at.channels * kColumns);
    Row inverse_std;
#pragma omp for schedule(static)
    for (int64_t tile = 0; tile < tile_count(at); ++tile) {
      read_columns(at, tile, x, columns.data());
      normalise(at.channels, epsilon, columns.data(), inverse_std);
      for (int64_t c = 0; c < at.channels; ++c)
        for (int64_t p = c * kColumns; p < (c + 1) * kColumns; p += kLanes)
          store(&columns[p], load(&columns[p]) * gamma[c] + beta[c]);
      write_columns(at, tile, columns.data(), out);
    }
  }
}

void layer_norm_backward(const Planes& at, const float* x, const float* gamma, float epsilon, const float* grad_out,
                         float* grad_x, float* grad_gamma, float* grad_beta) {
  const int64_t channels = at.channels, tiles = tile_count(at), parts = std::min(tiles, kParts);
  std::vector<Vec> sums(parts * 2 * channels);
#pragma omp parallel
  {
    std::vector<float> columns(channels * kColumns), grads(channels * kColumns);
    Row inverse_std;
#pragma omp for schedule(static)
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t tile = part * tiles / parts; tile < (part + 1) * tiles / parts; ++tile) {
        read_columns(at, tile, x, columns.data());
        read_columns(at, tile, grad_out, grads.data());
        normalise(channels, epsilon, columns.data(), inverse_std);
        Vec* sum = &sums[part * 2 * channels];
        Row centre = {}, lean = {};
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t v = 0; v < kVectors; ++v) {
            float* place = &grads[c * kColumns + v * kLanes];
            const Vec grad = load(place), product = grad * load(&columns[c * kColumns + v * kLanes]);
            sum[c] += product;
            sum[channels + c] += grad;
            centre[v] += grad * gamma[c];
            lean[v] += product * gamma[c];
          }
        for (Vec& value : centre) value *= 1.f / channels;
        for (Vec& value : lean) value *= 1.f / channels;
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t v = 0; v < kVectors; ++v) {
            float* place = &grads[c * kColumns + v * kLanes];
            const Vec value = load(&columns[c * kColumns + v * kLanes]);
            store(place, inverse_std[v] * (load(place) * gamma[c] - centre[v] - value * lean[v]));
          }
        write_columns(at, tile, grads.data(), grad_x);
      }
  }
  for (int64_t c = 0; c < channels; ++c) {
    double product = 0, grad = 0;
    for (int64_t part = 0; part < parts; ++part) {
      product += sum_lanes(sums[(part * 2) * channels + c]);
      grad += sum_lanes(sums[(part * 2 + 1) * channels + c]);
    }
    grad_gamma[c] = product;
    grad_beta[c] = grad;
  }
}
