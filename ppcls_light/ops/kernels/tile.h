// A tile of a matrix product, rows x columns vectors, which stay in registers while their products are summed.
#pragma once

#include <cstdint>

#include "simd.h"

// end(r, v, start(r, v) + the sum over c < depth of factor(c, r) * values(c, v)) for each row r and vector v. Sums are
// taken in the order of c. The functions are to be small: they are computed in the loop.
template <int rows, int columns, typename Start, typename Factor, typename Values, typename End>
__attribute__((always_inline)) inline void product_tile(int64_t depth, Start start, Factor factor, Values values,
                                                        End end) {
  Vec total[rows][columns];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) total[r][v] = start(r, v);
  for (int64_t c = 0; c < depth; ++c) {
    Vec value[columns];
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) value[v] = values(c, v);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vec one = broadcast(factor(c, r));
#pragma GCC unroll 16
      for (int v = 0; v < columns; ++v) total[r][v] += one * value[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < columns; ++v) end(r, v, total[r][v]);
}
