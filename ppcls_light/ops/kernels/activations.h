// Activations with their slopes, by vectors.
#pragma once

#include <initializer_list>

#include "kernels.h"
#include "simd.h"

// e^value for value in [-87, 0]: 2^n by the exponent's bits, the rest by its series; relative error 2e-7.
inline Vec exponential(Vec value) {
  value = clamp(value, -87.f, 0.f);
  const Vec rounder = Vec{} + 12582912.f;  // 1.5 * 2^23: adding it leaves no bits for a fraction
  const Vec shifted = value * 1.44269504f + rounder;
  const Vec n = shifted - rounder;
  const Vec rest = (value - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec series = Vec{} + 1.f / 720;
  for (const float coefficient : {1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) series = series * rest + coefficient;
  return (Vec)((Mask)series + (((Mask)shifted - (Mask)rounder) << 23));
}

struct Identity {
  static Vec value(Vec x) { return x; }
  static Vec slope(Vec) { return Vec{} + 1.f; }
};

struct Relu {
  static Vec value(Vec x) { return x > 0.f ? x : Vec{}; }
  static Vec slope(Vec x) { return x > 0.f ? Vec{} + 1.f : Vec{}; }
};

struct Relu6 {
  static Vec value(Vec x) { return clamp(x, 0.f, 6.f); }
  static Vec slope(Vec x) { return x > 0.f && x < 6.f ? Vec{} + 1.f : Vec{}; }
};

struct Hardswish {
  static Vec value(Vec x) { return hardswish(x); }
  static Vec slope(Vec x) {
    const Vec inside = (x + x + 3.f) * (1.f / 6);
    return x <= -3.f ? Vec{} : x >= 3.f ? Vec{} + 1.f : inside;
  }
};

// x Phi(x), with the error function of Abramowitz and Stegun, 7.1.26: absolute error 1.5e-7.
struct Gelu {
  static Vec phi(Vec x, Vec density) {  // density is e^(-x^2 / 2)
    const Vec size = (x < 0.f ? -x : x) * 0.70710678f;
    const Vec t = 1.f / (size * 0.3275911f + 1.f);
    const Vec series = ((((t * 1.061405429f - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    const Vec tail = 0.5f * series * density;
    return x < 0.f ? tail : 1.f - tail;
  }
  static Vec value(Vec x) { return x * phi(x, exponential(x * x * -0.5f)); }
  static Vec slope(Vec x) {
    const Vec density = exponential(x * x * -0.5f);
    return phi(x, density) + x * density * 0.39894228f;
  }
};

// Call visit with the activation; the order is that of `Activation`.
template <typename Visit>
void with_activation(Activation activation, Visit visit) {
  switch (activation) {
    case Activation::identity: return visit(Identity{});
    case Activation::relu: return visit(Relu{});
    case Activation::relu6: return visit(Relu6{});
    case Activation::hardswish: return visit(Hardswish{});
    case Activation::gelu: return visit(Gelu{});
  }
}
