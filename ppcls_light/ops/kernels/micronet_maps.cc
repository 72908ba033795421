// The convolutions and the activation of MicroNet, on the planes of one image.

#include <algorithm>
#include <vector>

#include "micronet.h"
#include "simd.h"
#include "tile.h"

namespace {

constexpr int kRows = 4;                          // outputs of a tile of a 1x1 convolution
constexpr int kColumns = kManyRegisters ? 4 : 2;  // its vectors

inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

// The rows of a middle with their padding, `line` floats apart, cut into phases, each of every `across`th column.
// `height`: the kernel's, or 0 for any. `whole`: for a row that is not cut yet.
template <int height>
void middle_rows(const FactorizedStep& conv, const float* __restrict x, const Map& in, int64_t rows,
                 const int32_t* planes, const float* __restrict weights, float* __restrict out, int64_t line,
                 float* __restrict whole) {
  const int64_t column = height ? height : conv.column;
  const Vec bias = Vec{} + weights[conv.inputs * column];
  for (int64_t y = 0; y < rows; ++y) {
    const int64_t top = y * conv.down - conv.above;
    float* row = (conv.across == 1 ? out + y * line : whole) + conv.before;
    const auto sum = [&](int64_t first, int64_t last) __attribute__((always_inline)) {
      for (int64_t p = 0; p < in.width; p += kLanes) {
        Vec total = bias;
        for (int64_t c = 0; c < conv.inputs; ++c) {
          const float* from = x + planes[c] * in.step() + p;
#pragma GCC unroll 8
          for (int64_t i = first; i < last; ++i) total += load(from + (top + i) * in.width) * weights[c * column + i];
        }
        store(row + p, total);
      }
    };
    if (top >= 0 && top + column <= in.height)
      sum(0, column);
    else
      sum(std::max<int64_t>(0, -top), std::min(column, in.height - top));
    for (int64_t p = 0; p < conv.before; ++p) row[p - conv.before] = row[in.width + p] = 0.f;
    for (int64_t phase = 0; conv.across > 1 && phase < conv.across; ++phase) {
      const float* __restrict from = whole + phase;
      float* __restrict to = out + (phase * rows + y) * line;
      strided(conv.across, conv.padded(in), [&](int64_t i, int64_t k) { to[k] = from[i]; });
    }
  }
}

// A plane of the output from the rows of a middle, in which tap j looks `offsets[j]` ahead.
template <int width>
void output_plane(const FactorizedStep& conv, const float* __restrict rows, int64_t line,
                  const int64_t* __restrict offsets, const float* __restrict weights, const Map& to,
                  float* __restrict plane) {
  const int64_t row = width ? width : conv.row;
  for (int64_t y = 0; y < to.height; ++y)
    for (int64_t p = 0; p < to.width; p += kLanes) {
      Vec total = Vec{} + weights[row];
#pragma GCC unroll 8
      for (int64_t j = 0; j < row; ++j) total += load(rows + y * line + offsets[j] + p) * weights[j];
      store(plane + y * to.width + p, conv.relu6 ? clamp(total, 0.f, 6.f) : total);
    }
}

// `rows` outputs in `columns` vectors: inputs by their numbers, weights by input and output, then the biases.
template <int rows, int columns>
void outputs_tile(const float* x, int64_t step, const int32_t* planes, int64_t inputs, const float* weights, bool relu6,
                  float* const* out, int64_t p) {
  product_tile<rows, columns>(
      inputs, [=](int r, int) { return Vec{} + weights[inputs * rows + r]; },
      [=](int64_t c, int r) { return weights[c * rows + r]; },
      [=](int64_t c, int v) { return load(x + planes[c] * step + p + v * kLanes); },
      [=](int r, int v, Vec total) { store(out[r] + p + v * kLanes, relu6 ? clamp(total, 0.f, 6.f) : total); });
}

template <int rows>
void tile_rows(const float* x, const Map& in, const int32_t* ints, const float* weights, bool relu6, float* out) {
  const int64_t inputs = ints[1], length = round_up(in.positions());
  const int32_t *outputs = ints + 2, *planes = outputs + rows;
  float* places[rows];
  for (int r = 0; r < rows; ++r) places[r] = out + outputs[r] * in.step();
  int64_t p = 0;
  for (; p + kColumns * kLanes <= length; p += kColumns * kLanes)
    outputs_tile<rows, kColumns>(x, in.step(), planes, inputs, weights, relu6, places, p);
  for (; p < length; p += kLanes) outputs_tile<rows, 1>(x, in.step(), planes, inputs, weights, relu6, places, p);
}

// means: of the planes of x. squeezed: room for the hidden units. coefficients: 2 fusions C of them.
void coefficients_of(const ShiftMaxStep& act, int64_t channels, const float* means, const float* weights,
                     float* __restrict squeezed, float* __restrict coefficients) {
  std::copy(weights + channels * act.hidden, weights + (channels + 1) * act.hidden, squeezed);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t h = 0; h < act.hidden; ++h) squeezed[h] += means[c] * weights[c * act.hidden + h];
  const int64_t count = 2 * act.fusions * channels;
  const float* excite = weights + (channels + 1) * act.hidden;
  const float *bias = excite + act.hidden * count, *centres = bias + count;
  std::copy(bias, bias + count, coefficients);
  for (int64_t h = 0; h < act.hidden; ++h) {
    const float value = std::max(squeezed[h], 0.f);
    for (int64_t k = 0; k < count; ++k) coefficients[k] += value * excite[h * count + k];
  }
  for (int64_t j = 0; j < 2 * act.fusions; ++j)
    for (int64_t c = 0; c < channels; ++c) {
      float& one = coefficients[j * channels + c];
      one = std::min(std::max(one, -2.f), 2.f) + centres[j];
    }
}

}  // namespace

void factorized(const Team& team, const FactorizedStep& conv, const Map& in, const float* x, const float* weights,
                float* out, const Map& to, Scratch& scratch) {
  const int64_t phases = conv.across, line = conv.line(in), phase_size = conv.phase_size(in);
  float *rows = scratch.rows.data(), *whole = rows + phases * phase_size;
  for (int64_t j = 0; j < conv.row; ++j) scratch.offsets[j] = j % phases * phase_size + j / phases;
  const auto middle = conv.column == 3 ? middle_rows<3> : conv.column == 5 ? middle_rows<5> : middle_rows<0>;
  const auto output = conv.row == 3 ? output_plane<3> : conv.row == 5 ? output_plane<5> : output_plane<0>;
  const int64_t own = conv.inputs * conv.column + 1, each = conv.row + 1;
  team.share(conv.middles, [&](int64_t m) {
    const int32_t *inputs = conv.channels + m * (conv.inputs + conv.outputs), *outputs = inputs + conv.inputs;
    const float* mine = weights + m * (own + conv.outputs * each);
    middle(conv, x, in, to.height, inputs, mine, rows, line, whole);
    for (int64_t o = 0; o < conv.outputs; ++o)
      output(conv, rows, line, scratch.offsets.data(), mine + own + o * each, to, out + outputs[o] * to.step());
  });
}

void pointwise(const Team& team, const PointwiseStep& conv, const Map& in, const float* x, const float* weights,
               float* out) {
  team.share(conv.tiles, [&](int64_t t) {
    const int32_t* ints = conv.offsets + conv.offsets[2 * t];
    const float* mine = weights + conv.offsets[2 * t + 1];
    switch (ints[0]) {
      case 1: return tile_rows<1>(x, in, ints, mine, conv.relu6, out);
      case 2: return tile_rows<2>(x, in, ints, mine, conv.relu6, out);
      case 3: return tile_rows<3>(x, in, ints, mine, conv.relu6, out);
      default: return tile_rows<kRows>(x, in, ints, mine, conv.relu6, out);
    }
  });
}

float mean(const float* plane, int64_t positions, bool relu6) {
  Vec total{};
  int64_t p = 0;
  for (; p + kLanes <= positions; p += kLanes) {
    const Vec value = load(plane + p);
    total += relu6 ? clamp(value, 0.f, 6.f) : value;
  }
  float sum = sum_lanes(total);
  for (; p < positions; ++p) sum += relu6 ? std::min(std::max(plane[p], 0.f), 6.f) : plane[p];
  return sum / positions;
}

void shift_max(const Team& team, const ShiftMaxStep& act, const Map& map, const float* x, const float* weights,
               float* means, Scratch& scratch, float* out) {
  team.share(map.channels, [&](int64_t c) { means[c] = mean(x + c * map.step(), map.positions(), false); });
  // Each thread for itself: to wait for one another takes longer.
  coefficients_of(act, map.channels, means, weights, scratch.hidden.data(), scratch.coefficients.data());
  team.share(map.channels, [&](int64_t c) {
    const float *mine = x + c * map.step(), *shifted = x + act.shift[c] * map.step();
    const float *a = scratch.coefficients.data() + c, *b = a + map.channels;
    float* to = out + c * map.step();
    if (act.fusions == 1) {
      for (int64_t p = 0; p < map.positions(); p += kLanes)
        store(to + p, load(mine + p) * a[0] + load(shifted + p) * b[0]);
      return;
    }
    const float *d = b + map.channels, *e = d + map.channels;
    for (int64_t p = 0; p < map.positions(); p += kLanes) {
      const Vec one = load(mine + p), other = load(shifted + p);
      store(to + p, maximum(one * a[0] + other * b[0], one * d[0] + other * e[0]));
    }
  });
}
