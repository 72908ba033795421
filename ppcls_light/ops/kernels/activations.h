// Activations with their slopes, by vectors. The gradient of what `kCostly` says is computed once and kept.
#pragma once

#include <initializer_list>

#include "kernels.h"
#include "simd.h"

// e^value for value in [-87, 0]: 2^n by the exponent's bits, the rest by its series; relative error 2e-7.
inline Vec exponential(Vec value) {
  value = value < -87.f ? Vec{} - 87.f : value;
  const Vec rounder = Vec{} + 12582912.f;  // 1.5 * 2^23: adding it leaves no bits for a fraction
  const Vec shifted = value * 1.44269504f + rounder;
  const Vec n = shifted - rounder;
  const Vec rest = (value - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec series = Vec{} + 1.f / 720;
  for (const float coefficient : {1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) series = series * rest + coefficient;
  return (Vec)((Mask)series + (((Mask)shifted - (Mask)rounder) << 23));
}

struct Identity {
  static constexpr bool kCostly = false;
  static Vec value(Vec x) { return x; }
  static Vec slope(Vec) { return Vec{} + 1.f; }
};

struct Relu {
  static constexpr bool kCostly = false;
  static Vec value(Vec x) { return x > 0.f ? x : Vec{}; }
  static Vec slope(Vec x) { return x > 0.f ? Vec{} + 1.f : Vec{}; }
};

struct Relu6 {
  static constexpr bool kCostly = false;
  static Vec value(Vec x) { return clamp(x, 0.f, 6.f); }
  static Vec slope(Vec x) { return x > 0.f && x < 6.f ? Vec{} + 1.f : Vec{}; }
};

struct Hardswish {
  static constexpr bool kCostly = false;
  static Vec value(Vec x) { return hardswish(x); }
  static Vec slope(Vec x) {
    const Vec inside = (x + x + 3.f) * (1.f / 6);
    return x <= -3.f ? Vec{} : x >= 3.f ? Vec{} + 1.f : inside;
  }
};

// x Phi(x), with the error function of Abramowitz and Stegun, 7.1.26: absolute error 1.5e-7.
struct Gelu {
  static constexpr bool kCostly = true;
  static Vec size(Vec x) { return (Vec)((Mask)x & 0x7fffffff); }
  static Vec density(Vec x) { return exponential(x * x * -0.5f); }
  // Phi(-|x|)
  static Vec tail(Vec x) {
    const Vec t = 1.f / (size(x) * 0.231641894f + 1.f);
    const Vec series = (((t * 0.5307027145f - 0.7265760135f) * t + 0.7107068705f) * t - 0.142248368f) * t + 0.127414796f;
    return series * t * density(x);
  }
  static Vec value(Vec x) { return Relu::value(x) - size(x) * tail(x); }
  static Vec slope(Vec x) { return (x < 0.f ? tail(x) : 1.f - tail(x)) + x * density(x) * 0.39894228f; }
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
