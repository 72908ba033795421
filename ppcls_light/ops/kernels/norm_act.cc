// Batch norm with the batch's statistics, and the activation after it, in one pass forward and two backward.
//
// The normalised values are not kept: the gradient computes them anew from the input, which costs less than
// reading them.

#include <cmath>
#include <vector>

#include "activations.h"
#include "kernels.h"
#include "simd.h"

namespace {

// Call body(place, only) for the vectors of a plane. The last one may overlap the one before it; only(value) is zero
// in the lanes that have been seen already, for sums.
template <typename Body>
inline void along(int64_t positions, Body body) {
  const int64_t whole = positions / kLanes * kLanes;
  for (int64_t p = 0; p < whole; p += kLanes) body(p, [](Vec value) __attribute__((always_inline)) { return value; });
  if (whole == positions) return;
  const Mask fresh = last_lanes(positions - whole);
  body(positions - kLanes, [fresh](Vec value) { return keep_lanes(value, fresh); });
}

// Factor and summand of the normalised y = x * scale + shift.
struct Affine {
  Affine(float gamma, float beta, float mean, float inverse_std)
      : scale(gamma * inverse_std), shift(beta - mean * gamma * inverse_std) {}
  float scale, shift;
};

// Mean and biased variance of channel c, about the mean of the first image so that nothing cancels.
void statistics(const Planes& at, const float* x, int64_t c, double* mean, double* variance) {
  const auto plane = [&](int64_t n) { return x + (n * at.channels + c) * at.positions; };
  Vec sum = {};
  along(at.positions, [&](int64_t p, auto only) { sum += only(load(plane(0) + p)); });
  const float centre = sum_lanes(sum) / at.positions;
  double first = 0, second = 0;
  for (int64_t n = 0; n < at.batch; ++n) {
    Vec sum = {}, squares = {};
    along(at.positions, [&](int64_t p, auto only) {
      const Vec difference = only(load(plane(n) + p) - centre);
      sum += difference;
      squares += difference * difference;
    });
    first += sum_lanes(sum);
    second += sum_lanes(squares);
  }
  const double count = at.batch * at.positions;
  *mean = centre + first / count;
  *variance = second / count - (first / count) * (first / count);
}

template <typename Act>
void forward(const Planes& at, const float* x, const float* gamma, const float* beta, float epsilon, float* mean,
             float* variance, float* inverse_std, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < at.channels; ++c) {
    double exact_mean, exact_variance;
    statistics(at, x, c, &exact_mean, &exact_variance);
    mean[c] = exact_mean;
    variance[c] = exact_variance;
    inverse_std[c] = 1 / std::sqrt(exact_variance + epsilon);
    const Affine affine(gamma[c], beta[c], mean[c], inverse_std[c]);
    for (int64_t n = 0; n < at.batch; ++n) {
      const int64_t plane = (n * at.channels + c) * at.positions;
      along(at.positions, [&](int64_t p, auto) {
        store(out + plane + p, Act::value(load(x + plane + p) * affine.scale + affine.shift));
      });
    }
  }
}

template <typename Act>
void backward(const Planes& at, const float* x, const float* gamma, const float* beta, const float* mean,
              const float* inverse_std, const float* grad_out, float* grad_x, float* grad_gamma, float* grad_beta) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < at.channels; ++c) {
    const Affine affine(gamma[c], beta[c], mean[c], inverse_std[c]);
    double grads = 0, products = 0;  // of the gradient at y, and of it times x - mean
    for (int64_t n = 0; n < at.batch; ++n) {
      const int64_t plane = (n * at.channels + c) * at.positions;
      Vec sum = {}, product = {};
      along(at.positions, [&](int64_t p, auto only) {
        const Vec value = load(x + plane + p);
        const Vec grad = only(load(grad_out + plane + p) * Act::slope(value * affine.scale + affine.shift));
        sum += grad;
        product += grad * (value - mean[c]);
      });
      grads += sum_lanes(sum);
      products += sum_lanes(product);
    }
    grad_beta[c] = grads;
    grad_gamma[c] = products * inverse_std[c];
    const double count = at.batch * at.positions;
    const float centre = grads / count, lean = products / count * inverse_std[c] * inverse_std[c];
    for (int64_t n = 0; n < at.batch; ++n) {
      const int64_t plane = (n * at.channels + c) * at.positions;
      along(at.positions, [&](int64_t p, auto) {
        const Vec value = load(x + plane + p);
        const Vec grad = load(grad_out + plane + p) * Act::slope(value * affine.scale + affine.shift);
        store(grad_x + plane + p, affine.scale * (grad - centre - (value - mean[c]) * lean));
      });
    }
  }
}

}  // namespace

void norm_act_forward(const Planes& at, Activation activation, const float* x, const float* gamma,
                      const float* beta, float epsilon, float* mean, float* variance, float* inverse_std,
                      float* out) {
  with_activation(activation, [&](auto act) {
    forward<decltype(act)>(at, x, gamma, beta, epsilon, mean, variance, inverse_std, out);
  });
}

void norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                       const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                       float* grad_x, float* grad_gamma, float* grad_beta) {
  with_activation(activation, [&](auto act) {
    backward<decltype(act)>(at, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma, grad_beta);
  });
}
