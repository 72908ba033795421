// A square of kLanes vectors, transposed in registers.
#pragma once

#include <utility>

#include "simd.h"

// The lane that lane i of an exchange takes: of its first vector, or of its second from kLanes on. Steps of 1 and 2
// transpose squares of 4 x 4 by the interleaving that every processor has; wider steps swap blocks of `step` lanes.
template <int step, bool high>
constexpr int exchanged(int i) {
  const int quad = i / 4 * 4, k = i % 4;
  if (step == 1) return quad + k / 2 + 2 * high + k % 2 * kLanes;
  if (step == 2) return (k < 2 ? quad + k : kLanes + quad + k - 2) + 2 * high;
  if (high) return i & step ? kLanes + i : i + step;
  return i & step ? kLanes + i - step : i;
}

template <int step, bool high, int... i>
Vec exchange(Vec a, Vec b, std::integer_sequence<int, i...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, exchanged<step, high>(i)...);
#else
  return __builtin_shuffle(a, b, Mask{exchanged<step, high>(i)...});
#endif
}

template <int step, bool high>
Vec exchange(Vec a, Vec b) {
  return exchange<step, high>(a, b, std::make_integer_sequence<int, kLanes>());
}

template <int step>
__attribute__((always_inline)) inline void exchange_blocks(Vec* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & step) continue;
    const Vec low = rows[i], high = rows[i + step];
    rows[i] = exchange<step, false>(low, high);
    rows[i + step] = exchange<step, true>(low, high);
  }
  if constexpr (2 * step < kLanes) exchange_blocks<2 * step>(rows);
}

// rows[i][r] = rows[r][i] for r, i < kLanes.
inline void transpose(Vec* rows) {
#pragma GCC unroll 16
  for (int quad = 0; quad < kLanes; quad += 4) {
    Vec pairs[4];
    for (int i = 0; i < 4; i += 2) {
      pairs[i] = exchange<1, false>(rows[quad + i], rows[quad + i + 1]);
      pairs[i + 1] = exchange<1, true>(rows[quad + i], rows[quad + i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      rows[quad + 2 * i] = exchange<2, false>(pairs[i], pairs[i + 2]);
      rows[quad + 2 * i + 1] = exchange<2, true>(pairs[i], pairs[i + 2]);
    }
  }
  if constexpr (kLanes > 4) exchange_blocks<4>(rows);
}

// to[i][r] = from[r][i] for r, i < kLanes.
inline void transpose(const float* from, int64_t from_step, float* to, int64_t to_step) {
  Vec rows[kLanes];
#pragma GCC unroll 16
  for (int r = 0; r < kLanes; ++r) rows[r] = load(from + r * from_step);
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(to + i * to_step, rows[i]);
}
