// Batch norm with the batch's statistics, and the activation after it, in one pass forward and two backward.
//
// The normalised values are not kept: the gradient computes them anew from the input, which costs less than
// reading them.

#include "activations.h"
#include "kernels.h"
#include "norm_act.h"
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

// Of channel c, about the mean of the first image so that nothing cancels.
void statistics(const Planes& at, const float* x, int64_t c, const Norm& norm) {
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
  norm.set(c, centre, first, second, at.batch * at.positions);
}

template <typename Act>
void forward(const Planes& at, const float* x, const Norm& norm, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < at.channels; ++c) {
    statistics(at, x, c, norm);
    const Affine affine(norm.gamma, norm.beta, norm.mean, norm.inverse_std, c);
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
    const Affine affine(gamma, beta, mean, inverse_std, c);
    double grads = 0, products = 0;
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
    const Gradient gradient(grads, products, at.batch * at.positions, inverse_std[c]);
    for (int64_t n = 0; n < at.batch; ++n) {
      const int64_t plane = (n * at.channels + c) * at.positions;
      along(at.positions, [&](int64_t p, auto) {
        const Vec value = load(x + plane + p);
        const Vec grad = load(grad_out + plane + p) * Act::slope(value * affine.scale + affine.shift);
        store(grad_x + plane + p, affine.scale * (grad - gradient.centre - (value - mean[c]) * gradient.lean));
      });
    }
  }
}

}  // namespace

void norm_act_forward(const Planes& at, Activation activation, const float* x, const float* gamma,
                      const float* beta, float epsilon, float momentum, float* running_mean, float* running_variance,
                      float* mean, float* inverse_std, float* out) {
  const Norm norm{gamma, beta, epsilon, momentum, running_mean, running_variance, mean, inverse_std};
  if (at.positions <= kSmallPlane) return small_norm_act_forward(at, activation, x, norm, out);
  with_activation(activation, [&](auto act) { forward<decltype(act)>(at, x, norm, out); });
}

void norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                       const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                       float* grad_x, float* grad_gamma, float* grad_beta) {
  if (at.positions <= kSmallPlane)
    return small_norm_act_backward(at, activation, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma,
                                   grad_beta);
  with_activation(activation, [&](auto act) {
    backward<decltype(act)>(at, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma, grad_beta);
  });
}
