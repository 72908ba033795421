#include "product.h"

#include "simd.h"
#include "tile.h"

namespace {

constexpr int kRows = 6;                        // of a tile
constexpr int kWidth = kManyRegisters ? 4 : 2;  // its vectors

struct Product {
  int64_t depth;
  Factors factors;
  const float* values;
  int64_t values_step;
  float* out;
  int64_t out_step;
  bool add;
};

// The rows of a tile, or the fewer that are left: one instance of the loop for each number.
template <int rows, int columns>
void tile(const Product& of, int64_t row, int64_t place, int64_t left) {
  if constexpr (rows > 1)
    if (left < rows) return tile<rows - 1, columns>(of, row, place, left);
  const int64_t row_step = of.factors.row_step, depth_step = of.factors.depth_step;
  const int64_t step = of.values_step, out_step = of.out_step;
  const float *factors = of.factors.data + row * row_step, *values = of.values + place;
  float* out = of.out + row * out_step + place;
  const bool add = of.add;
  product_tile<rows, columns>(
      of.depth, [=](int r, int v) { return add ? load(out + r * out_step + v * kLanes) : Vec{}; },
      [=](int64_t c, int r) { return factors[r * row_step + c * depth_step]; },
      [=](int64_t c, int v) { return load(values + c * step + v * kLanes); },
      [=](int r, int v, Vec total) { store(out + r * out_step + v * kLanes, total); });
}

template <int columns>
void strip(const Product& of, int64_t rows, int64_t place, int64_t left) {
  if constexpr (columns > 1)
    if (left < columns) return strip<columns - 1>(of, rows, place, left);
  for (int64_t row = 0; row < rows; row += kRows) tile<kRows, columns>(of, row, place, rows - row);
}

}  // namespace

void multiply(int64_t rows, int64_t vectors, int64_t depth, Factors factors, const float* values, int64_t values_step,
              float* out, int64_t out_step, bool add) {
  const Product product{depth, factors, values, values_step, out, out_step, add};
  for (int64_t v = 0; v < vectors; v += kWidth) strip<kWidth>(product, rows, v * kLanes, vectors - v);
}
