// A vector register of floats, by the vector extension that GCC and Clang share, and what several kernels do with it.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int kVecBytes = 64;
#elif defined(__AVX__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif

constexpr int kLanes = kVecBytes / 4;
// AVX-512 and 64-bit ARM have 32 vector registers, the others 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

typedef float Vec __attribute__((vector_size(kVecBytes)));
typedef int32_t Mask __attribute__((vector_size(kVecBytes)));
typedef float UnalignedVec __attribute__((vector_size(kVecBytes), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const UnalignedVec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<UnalignedVec*>(to) = value; }

// All lanes are `value`. Unlike Vec{} + value, which turns -0 to 0, this is no addition but a load.
inline Vec broadcast(float value) { return value - Vec{}; }

// The first `count` <= kLanes elements.
inline Vec load_first(const float* from, int64_t count) {
  if (count == kLanes) return load(from);
  Vec value = {};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}
inline void store_first(float* to, Vec value, int64_t count) {
  if (count == kLanes) return store(to, value);
  std::memcpy(to, &value, count * sizeof(float));
}

inline Vec clamp(Vec value, float low, float high) {
  value = value < low ? Vec{} + low : value;
  return value > high ? Vec{} + high : value;
}

inline Vec hardswish(Vec x) { return x * clamp(x + 3.f, 0.f, 6.f) * (1.f / 6); }

// Call move(step k, k) for each k. The constant steps make fast loops.
template <typename Move>
void strided(int64_t step, int64_t count, Move move) {
  if (step == 1) {
    for (int64_t k = 0; k < count; ++k) move(k, k);
  } else if (step == 2) {
    for (int64_t k = 0; k < count; ++k) move(2 * k, k);
  } else {
    for (int64_t k = 0; k < count; ++k) move(step * k, k);
  }
}

// All bits in the last `count` lanes, none in the others; they are new in a vector that overlaps the one before it.
inline Mask last_lanes(int64_t count) {
  Mask mask;
  for (int i = 0; i < kLanes; ++i) mask[i] = i < kLanes - count ? 0 : -1;
  return mask;
}

inline Vec keep_lanes(Vec value, Mask mask) { return (Vec)((Mask)value & mask); }

// Always in the same order, so that a sum does not depend on who computes it.
inline float sum_lanes(Vec value) {
  float lanes[kLanes];
  store(lanes, value);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
