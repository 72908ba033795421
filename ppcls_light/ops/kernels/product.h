// The product of two small matrices in the cache.
#pragma once

#include <cstdint>

// The factor of row r and depth c is data[r * row_step + c * depth_step].
struct Factors {
  const float* data;
  int64_t row_step, depth_step;
};

// out[r] = (add ? out[r] : 0) + the sum over c < depth of factor(r, c) * values[c], where out[r] and values[c] are rows
// of `vectors` whole vectors, out_step and values_step apart.
void multiply(int64_t rows, int64_t vectors, int64_t depth, Factors factors, const float* values, int64_t values_step,
              float* out, int64_t out_step, bool add);
