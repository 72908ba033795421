// The gradient of the weights: the product over positions of the gradient of the output with the columns of the input.

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "conv.h"
#include "tile.h"
#include "transpose.h"

namespace {

constexpr int64_t kDepth = 128;            // positions of a product, whose strip stays in the first cache
constexpr int64_t kPanelFloats = 1 << 16;  // of both panels, in the second cache
constexpr int64_t kParts = 8;              // of the positions, which are summed one by one
constexpr int64_t kPart = 1024;            // positions of a part, at least
constexpr int64_t kTasks = 4;              // at least, where the shape has as many

// sums[r][i] = (add ? sums[r][i] : 0) + the sum over positions p of left[places[r]][p] strip[p][i]. Summed from zero,
// which is more exact than on top.
template <int rows, int columns>
void product(int64_t positions, const float* left, const int64_t* places, const float* strip, float* sums, int64_t step,
             bool add) {
  const float* lines[rows];
  for (int r = 0; r < rows; ++r) lines[r] = left + places[r];
  product_tile<rows, columns>(
      positions, [](int, int) { return Vec{}; }, [=](int64_t p, int r) { return lines[r][p]; },
      [=](int64_t p, int v) { return load(strip + p * kStrip + v * kLanes); },
      [=](int r, int v, Vec total) {
        float* to = sums + r * step + v * kLanes;
        store(to, add ? load(to) + total : total);
      });
}

using Product = decltype(&product<1, 1>);

template <size_t... index>
constexpr std::array<Product, sizeof...(index)> products(std::index_sequence<index...>) {
  return {&product<index / kTileColumns + 1, index % kTileColumns + 1>...};
}

constexpr auto kProducts = products(std::make_index_sequence<kTileRows * kTileColumns>());

struct Floats {
  explicit Floats(int64_t size) : vectors(new Vec[divide_up(size, kLanes)]) {}
  float* data() { return reinterpret_cast<float*>(vectors.get()); }

  std::unique_ptr<Vec[]> vectors;
};

// Rows of a panel from some position on.
struct Rows {
  int64_t count;
  const int64_t* places;
  const float* values;
};

// Vectors of a row of products are cut into even strips of at most kTileColumns.
int64_t strips_of(int64_t vectors) { return divide_up(vectors, kTileColumns); }
int64_t strip_begin(int64_t vectors, int64_t strip) { return vectors * strip / strips_of(vectors); }

// turned[strip][p][i]: rows at `positions`, whole vectors, in strips. Past the last row it comes again.
void turn(const Rows& rows, int64_t positions, float* turned) {
  const int64_t vectors = divide_up(rows.count, kLanes);
  for (int64_t strip = 0; strip < strips_of(vectors); ++strip) {
    const int64_t begin = strip_begin(vectors, strip), end = strip_begin(vectors, strip + 1);
    for (int64_t v = begin; v < end; ++v) {
      const float* lines[kLanes];
      for (int i = 0; i < kLanes; ++i) lines[i] = rows.values + rows.places[std::min(v * kLanes + i, rows.count - 1)];
      float* to = turned + strip * kDepth * kStrip + (v - begin) * kLanes;
      for (int64_t p = 0; p < positions; p += kLanes) {
        Vec square[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) square[i] = load(lines[i] + p);
        transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(to + (p + i) * kStrip, square[i]);
      }
    }
  }
}

// sums[row][column], or what is there plus, left[row] times right[column] over positions; `turned` is scratch.
void multiply(const Rows& left, const Rows& right, int64_t positions, float* turned, float* sums, bool add) {
  const int64_t vectors = divide_up(right.count, kLanes), step = vectors * kLanes;
  turn(right, positions, turned);
  for (int64_t strip = 0; strip < strips_of(vectors); ++strip) {
    const int64_t first = strip_begin(vectors, strip), columns = strip_begin(vectors, strip + 1) - first;
    for (int64_t block = 0; block < output_blocks(left.count); ++block) {
      const int64_t begin = output_begin(left.count, block), rows = output_begin(left.count, block + 1) - begin;
      kProducts[(rows - 1) * kTileColumns + columns - 1](positions, left.values, left.places + begin,
                                                         turned + strip * kDepth * kStrip,
                                                         sums + begin * step + first * kLanes, step, add);
    }
  }
}

void add_rows(const Rows& rows, int64_t positions, float* sums) {
  for (int64_t r = 0; r < rows.count; ++r) {
    Vec total = {};
    for (int64_t p = 0; p < positions; p += kLanes) total += load(rows.values + rows.places[r] + p);
    sums[r] += sum_lanes(total);
  }
}

// The sums of the parts, added one by one, for rows and columns that are so many floats apart in `to`.
void add_parts(int64_t parts, int64_t rows, int64_t columns, float* partial, int64_t row_step, int64_t column_step,
               float* to) {
  const int64_t step = round_up(columns, kLanes);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    float* sums = partial + row * step;
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < step; i += kLanes) store(sums + i, load(sums + i) + load(sums + part * rows * step + i));
    float* line = to + row * row_step;
    if (column_step == 1)
      copy(sums, columns, line);
    else
      for (int64_t column = 0; column < columns; ++column) line[column * column_step] = sums[column];
  }
}

}  // namespace

void weight_gradient(const Conv& conv, const float* x, const float* grad_out, float* grad_weight, float* grad_bias) {
  const Columns inputs = columns_of_input(conv), outputs = columns_of_gradient(conv, inputs);
  // The side with fewer rows is transposed, the other one is shared out.
  const bool inputs_left = inputs.depth() >= conv.outputs;
  const Columns &left = inputs_left ? inputs : outputs, &right = inputs_left ? outputs : inputs;
  const float *left_values = inputs_left ? x : grad_out, *right_values = inputs_left ? grad_out : x;
  const int64_t step = round_up(right.depth(), kLanes), taps = int64_t(left.taps.size());
  const int64_t positions = left.positions(), blocks = divide_up(positions, kDepth);
  const int64_t parts = std::clamp<int64_t>(positions / kPart, 1, kParts);
  const int64_t shares = std::min(left.channels, divide_up(kTasks, parts));
  Floats partial(parts * left.depth() * step);
  std::vector<float> bias(parts * conv.outputs);
#pragma omp parallel for schedule(monotonic : dynamic)
  for (int64_t task = 0; task < parts * shares; ++task) {
    const int64_t part = task / shares, share = task % shares, channel = share * left.channels / shares;
    Columns own = left;
    own.channels = (share + 1) * left.channels / shares - channel;
    const int64_t fitting = kPanelFloats / (own.stored() + right.stored()) - left.before - left.after;
    const int64_t each = std::clamp<int64_t>(fitting / kDepth, 1, blocks);  // blocks of a panel
    Panel left_panel(own, each * kDepth), right_panel(right, each * kDepth);
    Floats turned(strips_of(step / kLanes) * kStrip * kDepth);
    float* sums = partial.data() + (part * left.depth() + channel * taps) * step;
    float* bias_sums = bias.data() + part * conv.outputs;
    const int64_t begin = part * blocks / parts, end = (part + 1) * blocks / parts;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t place = (block - begin) % each * kDepth;
      if (place == 0) {
        const int64_t first = block * kDepth;
        const int64_t count = std::min({each * kDepth, end * kDepth - first, positions - first});
        left_panel.fill(left_values + channel * left.channel, first, count);
        right_panel.fill(right_values, first, count);
      }
      const Rows rows{own.depth(), left_panel.rows(), left_panel.data() + place};
      const Rows columns{right.depth(), right_panel.rows(), right_panel.data() + place};
      const int64_t length = std::min(kDepth, round_up(positions - block * kDepth, kLanes));
      multiply(rows, columns, length, turned.data(), sums, block > begin);
      if (!grad_bias) continue;
      if (!inputs_left) add_rows(rows, length, bias_sums + channel);
      if (inputs_left && share == 0) add_rows(columns, length, bias_sums);
    }
  }
  const int64_t depth = inputs.depth();
  const int64_t output_step = conv.input_major ? 1 : depth, input_step = conv.input_major ? conv.outputs : 1;
  add_parts(parts, left.depth(), right.depth(), partial.data(), inputs_left ? input_step : output_step,
            inputs_left ? output_step : input_step, grad_weight);
  for (int64_t o = 0; grad_bias && o < conv.outputs; ++o) {
    float total = 0.f;
    for (int64_t part = 0; part < parts; ++part) total += bias[part * conv.outputs + o];
    grad_bias[o] = total;
  }
}
