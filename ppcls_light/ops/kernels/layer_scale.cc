// Layer scale and stochastic depth with their shortcut: out = shortcut + keep gamma branch.

#include <vector>

#include "kernels.h"
#include "simd.h"

void layer_scale_forward(const Planes& at, const float* branch, const float* gamma, const float* keep,
                         const float* shortcut, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < at.batch; ++n)
    for (int64_t c = 0; c < at.channels; ++c) {
      const float scale = keep ? keep[n] * gamma[c] : gamma[c];
      const int64_t plane = (n * at.channels + c) * at.positions;
      for (int64_t p = plane; p < plane + at.positions; ++p) out[p] = shortcut[p] + scale * branch[p];
    }
}

void layer_scale_backward(const Planes& at, const float* branch, const float* gamma, const float* keep,
                          const float* grad_out, float* grad_branch, float* grad_gamma) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < at.channels; ++c) {
    double sum = 0;
    for (int64_t n = 0; n < at.batch; ++n) {
      const float share = keep ? keep[n] : 1.f, scale = share * gamma[c];
      const int64_t plane = (n * at.channels + c) * at.positions, whole = at.positions / kLanes * kLanes;
      Vec products = {};
      for (int64_t p = plane; p < plane + whole; p += kLanes) {
        const Vec grad = load(grad_out + p);
        products += grad * load(branch + p);
        store(grad_branch + p, grad * scale);
      }
      float rest = 0.f;
      for (int64_t p = plane + whole; p < plane + at.positions; ++p) {
        rest += grad_out[p] * branch[p];
        grad_branch[p] = grad_out[p] * scale;
      }
      sum += share * (sum_lanes(products) + rest);
    }
    grad_gamma[c] = sum;
  }
}
