// Coefficients of batch norm, and its small planes, for norm_act.cc.
#pragma once

#include <cmath>

#include "kernels.h"

// What the statistics of the channels are computed with, and where they go.
struct Norm {
  const float *gamma, *beta;
  float epsilon, momentum;
  float *running_mean, *running_variance, *mean, *inverse_std;

  // Of channel c, from the sums of `count` differences to `centre` and of their squares.
  void set(int64_t c, float centre, double differences, double squares, double count) const {
    const double off = differences / count, variance = squares / count - off * off;
    mean[c] = centre + off;
    inverse_std[c] = 1 / std::sqrt(variance + epsilon);
    running_mean[c] = running_mean[c] * momentum + mean[c] * (1 - momentum);
    running_variance[c] = running_variance[c] * momentum + float(variance) * (1 - momentum);
  }
};

// Factor and summand of the normalised y = x * scale + shift.
struct Affine {
  Affine(const float* gamma, const float* beta, const float* mean, const float* inverse_std, int64_t c)
      : scale(gamma[c] * inverse_std[c]), shift(beta[c] - mean[c] * scale) {}
  float scale, shift;
};

// The gradient of x is scale (grad - centre - (x - mean) lean), where grad is that of y: what is left of grad without
// its mean and its part along x. `grads` and `products` are the sums of grad and of grad (x - mean).
struct Gradient {
  Gradient(double grads, double products, double count, float inverse_std)
      : centre(grads / count), lean(products / count * inverse_std * inverse_std) {}
  float centre, lean;
};

// Planes up to this size are taken several at a time. Measured.
constexpr int64_t kSmallPlane = 16;

void small_norm_act_forward(const Planes& at, Activation activation, const float* x, const Norm& norm, float* out);
void small_norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                             const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                             float* grad_x, float* grad_gamma, float* grad_beta);
