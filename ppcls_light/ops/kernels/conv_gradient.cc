// The gradient of the weights: the product over positions of the gradient of the output with the columns of the input.

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "conv.h"
#include "tile.h"
#include "transpose.h"

namespace {

constexpr int64_t kDepth = 128;  // positions of a product, whose strip stays in the first cache
constexpr int64_t kParts = 8;    // of the positions, which are summed one by one
constexpr int64_t kPart = 1024;  // positions of a part, at least
constexpr int64_t kTasks = 4;    // at least, where the shape has as many

// sums[r][i] += the sum over positions p of left[r][p] strip[p][i]. Summed from zero, which is more exact than on top.
template <int rows, int columns>
void product(int64_t positions, const float* left, const float* strip, float* sums, int64_t step) {
  product_tile<rows, columns>(
      positions, [](int, int) { return Vec{}; }, [=](int64_t p, int r) { return left[r * kDepth + p]; },
      [=](int64_t p, int v) { return load(strip + p * kStrip + v * kLanes); },
      [=](int r, int v, Vec total) {
        float* to = sums + r * step + v * kLanes;
        store(to, load(to) + total);
      });
}

using Product = decltype(&product<1, 1>);

template <size_t... index>
constexpr std::array<Product, sizeof...(index)> products(std::index_sequence<index...>) {
  return {&product<index / kTileColumns + 1, index % kTileColumns + 1>...};
}

constexpr auto kProducts = products(std::make_index_sequence<kTileRows * kTileColumns>());

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// sums[row][column] += left[row] times right[column] over kDepth positions; `turned` is scratch for `right` by strips.
void add_products(int64_t rows, int64_t columns, const float* left, const float* right, float* turned, float* sums) {
  const int64_t step = round_up(columns, kLanes);
  for (int64_t first = 0; first < step; first += kLanes)
    for (int64_t p = 0; p < kDepth; p += kLanes)
      transpose(right + first * kDepth + p, kDepth,
                turned + first / kStrip * kDepth * kStrip + p * kStrip + first % kStrip, kStrip);
  for (int64_t first = 0; first < step; first += kStrip, turned += kDepth * kStrip) {
    const int64_t vectors = std::min(kStrip, step - first) / kLanes;
    for (int64_t block = 0; block < output_blocks(rows); ++block) {
      const int64_t begin = output_begin(rows, block), count = output_begin(rows, block + 1) - begin;
      kProducts[(count - 1) * kTileColumns + vectors - 1](kDepth, left + begin * kDepth, turned,
                                                          sums + begin * step + first, step);
    }
  }
}

void add_rows(int64_t rows, const float* values, float* sums) {
  for (int64_t r = 0; r < rows; ++r) {
    Vec total = {};
    for (int64_t p = 0; p < kDepth; p += kLanes) total += load(values + r * kDepth + p);
    sums[r] += sum_lanes(total);
  }
}

struct Floats {
  explicit Floats(int64_t size) : vectors(new Vec[size / kLanes + 1]) { std::fill_n(data(), size, 0.f); }
  float* data() { return reinterpret_cast<float*>(vectors.get()); }

  std::unique_ptr<Vec[]> vectors;
};

}  // namespace

void weight_gradient(const Conv& conv, const float* x, const float* grad_out, float* grad_weight, float* grad_bias) {
  const Columns inputs = columns_of_input(conv);
  const Columns outputs = columns_of_gradient(conv);
  // The side with fewer rows is transposed, the other one is shared out.
  const bool inputs_left = inputs.depth() >= conv.outputs;
  const Columns &left = inputs_left ? inputs : outputs, &right = inputs_left ? outputs : inputs;
  const float *left_values = inputs_left ? x : grad_out, *right_values = inputs_left ? grad_out : x;
  const int64_t step = round_up(right.depth(), kLanes), taps = int64_t(left.taps.size());
  const int64_t blocks = (left.positions() + kDepth - 1) / kDepth;
  const int64_t parts = std::clamp<int64_t>(left.positions() / kPart, 1, kParts), shares = std::min(left.channels, (kTasks + parts - 1) / parts);
  Floats partial(parts * left.depth() * step), bias(parts * conv.outputs);
#pragma omp parallel for schedule(monotonic : dynamic)
  for (int64_t task = 0; task < parts * shares; ++task) {
    const int64_t part = task / shares, share = task % shares;
    const int64_t channel = share * left.channels / shares;
    Columns own = left;
    own.channels = (share + 1) * left.channels / shares - channel;
    Floats rows(own.depth() * kDepth), columns(step * kDepth), turned(round_up(step, kStrip) * kDepth);
    for (int64_t block = part * blocks / parts; block < (part + 1) * blocks / parts; ++block) {
      const int64_t first = block * kDepth, count = std::min(kDepth, left.positions() - first);
      pack(own, left_values + channel * left.channel, first, count, kDepth, rows.data());
      pack(right, right_values, first, count, kDepth, columns.data());
      add_products(own.depth(), right.depth(), rows.data(), columns.data(), turned.data(),
                   partial.data() + (part * left.depth() + channel * taps) * step);
      float* sums = bias.data() + part * conv.outputs;
      if (!inputs_left) add_rows(own.channels, rows.data(), sums + channel);
      if (inputs_left && share == 0) add_rows(conv.outputs, columns.data(), sums);
    }
  }
  const int64_t depth = inputs.depth();
  const int64_t output_step = conv.input_major ? 1 : depth, input_step = conv.input_major ? conv.outputs : 1;
  const int64_t row_step = inputs_left ? input_step : output_step, column_step = inputs_left ? output_step : input_step;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < left.depth(); ++row)
    for (int64_t column = 0; column < right.depth(); ++column) {
      float total = 0.f;
      for (int64_t part = 0; part < parts; ++part)
        total += partial.data()[(part * left.depth() + row) * step + column];
      grad_weight[row * row_step + column * column_step] = total;
    }
  for (int64_t o = 0; grad_bias && o < conv.outputs; ++o) {
    float total = 0.f;
    for (int64_t part = 0; part < parts; ++part) total += bias.data()[part * conv.outputs + o];
    grad_bias[o] = total;
  }
}
