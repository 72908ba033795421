// The convolutions and the activation of MicroNet, on the planes of one image.

#include "micronet.h"

#include "../kernels/tile.h"

namespace {

constexpr int kRows = 4;                          // outputs of a tile of a 1x1 convolution; the _MOST_ROWS of plan.py
constexpr int kColumns = kManyRegisters ? 4 : 2;  // its vectors

inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

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

}  // namespace

Factorized::Factorized(Fields& fields, int64_t channels)
    : column_(fields.integer(1, kMost)),
      row_(fields.integer(1, kMost)),
      down_(fields.integer(1, kMostStride)),
      across_(fields.integer(1, kMostStride)),
      above_(fields.integer(0, kMost)),
      before_(fields.integer(0, kMost)),
      relu6_(fields.integer(0, 1)),
      middles_(fields.integer(1, kMost)),
      inputs_(fields.integer(1, kMost)),
      outputs_(fields.integer(1, kMost)),
      channels_(nullptr),
      weights_(fields.floats(middles_ * (inputs_ * column_ + 1 + outputs_ * (row_ + 1)))) {
  require(column_ == 2 * above_ + 1 && row_ == 2 * before_ + 1, "a kernel whose padding does not keep the size");
  require(middles_ * outputs_ <= kMost, "too many channels");
  Once once(middles_ * outputs_);
  for (int64_t m = 0; m < middles_; ++m) {
    const int32_t* first = fields.integers(inputs_, 0, channels - 1);
    if (m == 0) channels_ = first;
    once.make(fields.integers(outputs_, 0, middles_ * outputs_ - 1), outputs_);
  }
  once.end();
}

Sizes Factorized::sizes(const Map& in) const {
  // The rows of a middle, and one that is not cut yet.
  return {across_ * (phase_size(in) + 1) + in.width + 2 * before_ + kLanes, row_, 0};
}

// The rows of a middle with their padding, `line` floats apart, cut into phases, each of every `across_`th column.
// `height`: the kernel's, or 0 for any. `whole`: for a row that is not cut yet.
template <int height>
void Factorized::middle_rows(const Work& at, const int32_t* planes, const float* __restrict weights,
                             float* __restrict out, int64_t line, float* __restrict whole) const {
  const Map& in = at.in;
  const float* __restrict x = at.x;
  const int64_t column = height ? height : column_, across = across_, before = before_, inputs = inputs_;
  const int64_t rows = at.to.height;
  const Vec bias = Vec{} + weights[inputs * column];
  for (int64_t y = 0; y < rows; ++y) {
    const int64_t top = y * down_ - above_;
    float* row = (across == 1 ? out + y * line : whole) + before;
    const auto sum = [&](int64_t first, int64_t last) __attribute__((always_inline)) {
      for (int64_t p = 0; p < in.width; p += kLanes) {
        Vec total = bias;
        for (int64_t c = 0; c < inputs; ++c) {
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
    for (int64_t p = 0; p < before; ++p) row[p - before] = row[in.width + p] = 0.f;
    for (int64_t phase = 0; across > 1 && phase < across; ++phase) {
      const float* __restrict from = whole + phase;
      float* __restrict to = out + (phase * rows + y) * line;
      strided(across, padded(in), [&](int64_t i, int64_t k) { to[k] = from[i]; });
    }
  }
}

// A plane of the output from the rows of a middle, in which tap j looks `offsets[j]` ahead.
template <int width>
void Factorized::output_plane(const Work& at, const float* __restrict rows, int64_t line,
                              const float* __restrict weights, float* __restrict plane) const {
  const int64_t row = width ? width : row_;
  const int64_t* __restrict offsets = at.own.offsets.data();
  for (int64_t y = 0; y < at.to.height; ++y)
    for (int64_t p = 0; p < at.to.width; p += kLanes) {
      Vec total = Vec{} + weights[row];
#pragma GCC unroll 8
      for (int64_t j = 0; j < row; ++j) total += load(rows + y * line + offsets[j] + p) * weights[j];
      store(plane + y * at.to.width + p, relu6_ ? clamp(total, 0.f, 6.f) : total);
    }
}

void Factorized::run(const Work& at) const {
  const int64_t phases = across_, lines = line(at.in), phase = phase_size(at.in);
  float *rows = at.own.own.data(), *whole = rows + phases * phase;
  for (int64_t j = 0; j < row_; ++j) at.own.offsets[j] = j % phases * phase + j / phases;
  const auto middle = column_ == 3   ? &Factorized::middle_rows<3>
                      : column_ == 5 ? &Factorized::middle_rows<5>
                                     : &Factorized::middle_rows<0>;
  const auto output = row_ == 3   ? &Factorized::output_plane<3>
                      : row_ == 5 ? &Factorized::output_plane<5>
                                  : &Factorized::output_plane<0>;
  const int64_t own = inputs_ * column_ + 1, each = row_ + 1;
  at.team.share(middles_, [&](int64_t m) {
    const int32_t *inputs = channels_ + m * (inputs_ + outputs_), *outputs = inputs + inputs_;
    const float* mine = weights_ + m * (own + outputs_ * each);
    (this->*middle)(at, inputs, mine, rows, lines, whole);
    for (int64_t o = 0; o < outputs_; ++o)
      (this->*output)(at, rows, lines, mine + own + o * each, at.out + outputs[o] * at.to.step());
  });
}

Pointwise::Pointwise(Fields& fields, int64_t channels)
    : outputs_(fields.integer(1, kMost)), relu6_(fields.integer(0, 1)), tiles_(fields.integer(1, outputs_)) {
  Once once(outputs_);
  for (Tile& tile : tiles_) {
    tile.rows = fields.integer(1, kRows);
    tile.inputs = fields.integer(0, channels);
    tile.outputs = fields.integers(tile.rows, 0, outputs_ - 1);
    tile.planes = fields.integers(tile.inputs, 0, channels - 1);
    tile.weights = fields.floats((tile.inputs + 1) * tile.rows);
    once.make(tile.outputs, tile.rows);
  }
  once.end();
}

template <int rows>
void Pointwise::tile(const Work& at, const Tile& tile) const {
  const int64_t length = round_up(at.in.positions(), kLanes), step = at.in.step();
  float* places[rows];
  for (int r = 0; r < rows; ++r) places[r] = at.out + tile.outputs[r] * at.to.step();
  int64_t p = 0;
  for (; p + kColumns * kLanes <= length; p += kColumns * kLanes)
    outputs_tile<rows, kColumns>(at.x, step, tile.planes, tile.inputs, tile.weights, relu6_, places, p);
  for (; p < length; p += kLanes)
    outputs_tile<rows, 1>(at.x, step, tile.planes, tile.inputs, tile.weights, relu6_, places, p);
}

void Pointwise::run(const Work& at) const {
  at.team.share(tiles_.size(), [&](int64_t t) {
    switch (tiles_[t].rows) {
      case 1: return tile<1>(at, tiles_[t]);
      case 2: return tile<2>(at, tiles_[t]);
      case 3: return tile<3>(at, tiles_[t]);
      default: return tile<kRows>(at, tiles_[t]);
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

ShiftMax::ShiftMax(Fields& fields, int64_t channels)
    : hidden_(fields.integer(1, kMost)),
      fusions_(fields.integer(1, 2)),
      shift_(fields.integers(channels, 0, channels - 1)),
      weights_(fields.floats((channels + 1) * hidden_ + (hidden_ + 1) * 2 * fusions_ * channels + 2 * fusions_)) {}

// means: of the planes of x. squeezed: room for the hidden units. coefficients: 2 fusions C of them.
void ShiftMax::coefficients(int64_t channels, const float* means, float* __restrict squeezed,
                            float* __restrict coefficients) const {
  const float* weights = weights_;
  std::copy(weights + channels * hidden_, weights + (channels + 1) * hidden_, squeezed);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t h = 0; h < hidden_; ++h) squeezed[h] += means[c] * weights[c * hidden_ + h];
  const int64_t count = 2 * fusions_ * channels;
  const float* excite = weights + (channels + 1) * hidden_;
  const float *bias = excite + hidden_ * count, *centres = bias + count;
  std::copy(bias, bias + count, coefficients);
  for (int64_t h = 0; h < hidden_; ++h) {
    const float value = std::max(squeezed[h], 0.f);
    for (int64_t k = 0; k < count; ++k) coefficients[k] += value * excite[h * count + k];
  }
  for (int64_t j = 0; j < 2 * fusions_; ++j)
    for (int64_t c = 0; c < channels; ++c) {
      float& one = coefficients[j * channels + c];
      one = std::min(std::max(one, -2.f), 2.f) + centres[j];
    }
}

void ShiftMax::run(const Work& at) const {
  const Map& map = at.in;
  at.team.share(map.channels, [&](int64_t c) {
    at.shared[c] = mean(at.x + c * map.step(), map.positions(), false);
  });
  // Each thread for itself: to wait for one another takes longer.
  float* ready = at.own.own.data() + hidden_;
  coefficients(map.channels, at.shared, at.own.own.data(), ready);
  at.team.share(map.channels, [&](int64_t c) {
    const float *mine = at.x + c * map.step(), *shifted = at.x + shift_[c] * map.step();
    const float *a = ready + c, *b = a + map.channels;
    float* to = at.out + c * map.step();
    if (fusions_ == 1) {
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
