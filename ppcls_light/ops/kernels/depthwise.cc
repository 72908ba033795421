// Depthwise convolution, in vectors across planes. A plane is the map of a channel of an image.
//
// kLanes planes are transposed into a buffer: a vector per position, and zeros left and right of each row. Rows above
// and below are left out of the sums. Vectors are full whatever the size of a map, and no read is unaligned. The
// output and the gradient of the input are both sums of rows, each convolved with a row of the kernel. Large maps are
// cut into strips of rows, whose buffers stay in the cache.

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels.h"
#include "rounding.h"
#include "simd.h"
#include "transpose.h"

namespace {

constexpr int64_t kMostColumns = 8;         // of sums in registers
constexpr int64_t kStripBytes = 1 << 16;    // of the input's buffer
constexpr int64_t kBlocksPerTask = 8, kLeastTasks = 16;

using Buffer = std::vector<Vec>;


// Vectors of planes, `blocks`; block b begins with plane b kLanes, the channel of a plane is its number modulo the
// channels. So each `period`-th block has the same channels: a task takes some of those.
struct Tasks {
  explicit Tasks(const Depthwise& conv)
      : planes(conv.batch * conv.channels), channels(conv.channels),
        blocks(divide_up(planes, kLanes)), period(channels / std::gcd<int64_t>(channels, kLanes)),
        blocks_per_task(std::clamp<int64_t>(blocks / kLeastTasks, 1, kBlocksPerTask)),
        count(period * divide_up(blocks, period * blocks_per_task)) {}
  int64_t channel(int64_t task, int64_t lane) const { return (task % period * kLanes + lane) % channels; }
  // Call visit(first plane, number of planes) for each block of a task.
  template <typename Visit>
  void for_each_block(int64_t task, Visit visit) const {
    const int64_t first = task / period * blocks_per_task * period + task % period;
    for (int64_t b = first; b < std::min(blocks, first + blocks_per_task * period); b += period)
      visit(b * kLanes, std::min<int64_t>(kLanes, planes - b * kLanes));
  }
  int64_t planes, channels, blocks, period, blocks_per_task, count;
};

// Rows [begin, end) of a map that are computed from rows [from, to) of the other one.
struct Strip {
  int64_t begin, end, from, to;
};

// A map in buffers with `row` vectors per row, of which the first `left` are zero; its columns are `step` apart.
struct Map {
  Map(Pair plane, int64_t row, int64_t left, int64_t step) : plane(plane), size(plane.height * plane.width), row(row) {
    for (int64_t y = 0; y < plane.height; ++y)
      for (int64_t x = 0; x < plane.width; ++x) places.push_back(y * row + left + x * step);
  }
  Pair plane;
  int64_t size, row;
  std::vector<int64_t> places;  // of the positions, in a buffer that begins with the first row
};

// Copy rows [begin, end) of planes `stride` apart: buffer[place of p][lane] = planes[lane stride + p]; lanes from
// `count` on are zero.
void pack(const Map& map, int64_t begin, int64_t end, const float* planes, int64_t stride, int64_t count, Vec* buffer) {
  const int64_t positions = (end - begin) * map.plane.width;
  planes += begin * map.plane.width;
  if (positions < kLanes) {
    for (int64_t p = 0; p < positions; ++p) buffer[map.places[p]] = Vec{};
    for (int64_t lane = 0; lane < count; ++lane)
      for (int64_t p = 0; p < positions; ++p) buffer[map.places[p]][lane] = planes[lane * stride + p];
    return;
  }
  for (int64_t stop = kLanes;; stop = std::min(stop + kLanes, positions)) {
    const int64_t p = stop - kLanes;
    Vec tile[kLanes];
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) tile[lane] = lane < count ? load(planes + lane * stride + p) : Vec{};
    transpose(tile);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) buffer[map.places[p + i]] = tile[i];
    if (stop == positions) return;
  }
}

// planes[lane stride + p] = line[p][lane]
void unpack(const Vec* line, int64_t positions, float* planes, int64_t stride, int64_t count) {
  if (positions < kLanes) {
    for (int64_t lane = 0; lane < count; ++lane)
      for (int64_t p = 0; p < positions; ++p) planes[lane * stride + p] = line[p][lane];
    return;
  }
  for (int64_t stop = kLanes;; stop = std::min(stop + kLanes, positions)) {
    const int64_t p = stop - kLanes;
    Vec tile[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) tile[i] = line[p + i];
    transpose(tile);
    for (int lane = 0; lane < count; ++lane) store(planes + lane * stride + p, tile[lane]);
    if (stop == positions) return;
  }
}

// A row of a buffer, and the row of the kernel that it is convolved with.
struct Source {
  const Vec *values, *weights;
};

// out[x] = start + the sum over sources and taps j of weights[j] values[x step + j], for `columns` of x from `first`.
template <int columns>
void sum_columns(const std::vector<Source>& sources, int64_t taps, int64_t step, Vec start, int64_t first, Vec* out) {
  Vec total[columns];
#pragma GCC unroll 8
  for (int x = 0; x < columns; ++x) total[x] = start;
  for (const Source& source : sources)
    for (int64_t j = 0; j < taps; ++j) {
      const Vec weight = source.weights[j], *values = source.values + first * step + j;
#pragma GCC unroll 8
      for (int x = 0; x < columns; ++x) total[x] += weight * values[x * step];
    }
#pragma GCC unroll 8
  for (int x = 0; x < columns; ++x) out[first + x] = total[x];
}

// The same for a whole row, in equal parts; the last may overlap the one before it.
void sum_row(const std::vector<Source>& sources, int64_t taps, int64_t step, Vec start, int64_t width, Vec* out) {
  constexpr decltype(&sum_columns<1>) sums[] = {sum_columns<1>, sum_columns<2>, sum_columns<3>, sum_columns<4>,
                                                sum_columns<5>, sum_columns<6>, sum_columns<7>, sum_columns<8>};
  const int64_t columns = divide_up(width, divide_up(width, kMostColumns));
  for (int64_t x = 0; x < width; x += columns)
    sums[columns - 1](sources, taps, step, start, std::min(x, width - columns), out);
}

// Rows of the output's gradient, and the rows of the input that one row of the kernel has met them with.
struct Rows {
  const Vec *grads, *values;
  int64_t count, width, grads_row, values_row, step;
};

// total[j] += the sum over rows and x of grads[x step] values[x step + j], for `taps` of j from `first`.
template <int taps>
void correlate_taps(const Rows& rows, int64_t first, Vec* total) {
  Vec sum[taps] = {};
  for (int64_t y = 0; y < rows.count; ++y) {
    const Vec *grads = rows.grads + y * rows.grads_row, *values = rows.values + y * rows.values_row + first;
    for (int64_t x = 0; x < rows.width; ++x)
#pragma GCC unroll 8
      for (int j = 0; j < taps; ++j) sum[j] += grads[x * rows.step] * values[x * rows.step + j];
  }
#pragma GCC unroll 8
  for (int j = 0; j < taps; ++j) total[first + j] += sum[j];
}

void correlate(const Rows& rows, int64_t taps, Vec* total) {
  int64_t j = 0;
  for (; j + 5 <= taps; j += 5) correlate_taps<5>(rows, j, total);
  for (; j + 3 <= taps; j += 3) correlate_taps<3>(rows, j, total);
  for (; j < taps; ++j) correlate_taps<1>(rows, j, total);
}

Map input_map(const Depthwise& conv) {
  return {conv.input, conv.input.width + 2 * conv.padding.width, conv.padding.width, 1};
}

// Number of rows of a strip.
int64_t strip_height(const Map& input) { return std::max<int64_t>(1, kStripBytes / (input.row * kVecBytes)); }

int64_t most_rows(const std::vector<Strip>& strips) {
  int64_t most = 0;
  for (const Strip& strip : strips) most = std::max(most, strip.to - strip.from);
  return most;
}

// Strips of the output, of the rows of the input that it is computed from.
std::vector<Strip> forward_strips(const Depthwise& conv, int64_t height) {
  std::vector<Strip> strips;
  for (int64_t y = 0; y < conv.output.height; y += height) {
    const int64_t end = std::min(conv.output.height, y + height);
    const int64_t from = std::max<int64_t>(0, y * conv.stride.height - conv.padding.height);
    const int64_t to = std::min(conv.input.height, (end - 1) * conv.stride.height - conv.padding.height + conv.kernel.height);
    strips.push_back({y, end, from, std::max(from, to)});
  }
  return strips;
}

// Strips of the input, and the rows of the output that have seen them; the first and last have all others, too.
std::vector<Strip> backward_strips(const Depthwise& conv, int64_t height) {
  std::vector<Strip> strips;
  for (int64_t y = 0; y < conv.input.height; y += height) {
    const int64_t end = std::min(conv.input.height, y + height), ahead = y + conv.padding.height;
    const int64_t from = y ? std::max<int64_t>(0, divide_up(ahead - conv.kernel.height + 1, conv.stride.height)) : 0;
    const int64_t to = divide_up(end + conv.padding.height, conv.stride.height);
    strips.push_back({y, end, from, end < conv.input.height ? std::min(to, conv.output.height) : conv.output.height});
  }
  return strips;
}

}  // namespace

void depthwise_forward(const Depthwise& conv, const float* x, const float* weight, const float* bias,
                       float* out) {
  const auto [height, width] = conv.kernel;
  const Tasks tasks(conv);
  const Map input = input_map(conv);
  const int64_t taps = height * width, out_plane = conv.output.height * conv.output.width;
  const int64_t rows = divide_up(strip_height(input), conv.stride.height);
  const std::vector<Strip> strips = forward_strips(conv, rows);
#pragma omp parallel
  {
    Buffer values(most_rows(strips) * input.row), line(std::min(rows, conv.output.height) * conv.output.width);
    Buffer weights(conv.multiplier * taps), start(conv.multiplier);
    std::vector<Source> sources;
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks.count; ++task) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t c = tasks.channel(task, lane);
        for (int64_t t = 0; t < conv.multiplier * taps; ++t) weights[t][lane] = weight[c * conv.multiplier * taps + t];
        for (int64_t m = 0; m < conv.multiplier; ++m) start[m][lane] = bias[c * conv.multiplier + m];
      }
      tasks.for_each_block(task, [&](int64_t plane, int64_t count) {
        for (const Strip& strip : strips) {
          pack(input, strip.from, strip.to, x + plane * input.size, input.size, count, values.data());
          for (int64_t m = 0; m < conv.multiplier; ++m) {
            for (int64_t y = strip.begin; y < strip.end; ++y) {
              sources.clear();
              for (int64_t i = 0; i < height; ++i) {
                const int64_t row = y * conv.stride.height + i - conv.padding.height;
                if (0 <= row && row < conv.input.height)
                  sources.push_back({&values[(row - strip.from) * input.row], &weights[m * taps + i * width]});
              }
              sum_row(sources, width, conv.stride.width, start[m], conv.output.width,
                      &line[(y - strip.begin) * conv.output.width]);
            }
            float* planes = out + (plane * conv.multiplier + m) * out_plane + strip.begin * conv.output.width;
            unpack(line.data(), (strip.end - strip.begin) * conv.output.width, planes, conv.multiplier * out_plane,
                   count);
          }
        }
      });
    }
  }
}

void depthwise_backward(const Depthwise& conv, const float* x, const float* weight, const float* grad_out,
                        float* grad_x, float* grad_weight, float* grad_bias) {
  const auto [height, width] = conv.kernel;
  const Tasks tasks(conv);
  const Map input = input_map(conv);
  // With zeros between its columns where the stride is not 1, the gradient of the output gives that of the input by a
  // convolution of stride 1 with the kernel in reverse. Rows begin with the zeros that its first columns see.
  const int64_t step = conv.stride.width, left = width - 1;
  const int64_t reach = std::max(conv.input.width + conv.padding.width, (conv.output.width - 1) * step + 1);
  const Map output(conv.output, left + reach, left, step);
  const int64_t taps = height * width, sums = taps + 1;  // the last is the bias'
  const int64_t rows = strip_height(input);
  const std::vector<Strip> strips = backward_strips(conv, rows);
  const int64_t grads_size = most_rows(strips) * output.row;
  Buffer partial(tasks.count * conv.multiplier * sums);
#pragma omp parallel
  {
    Buffer values(std::min(rows, conv.input.height) * input.row), grads(conv.multiplier * grads_size);
    Buffer line(std::min(rows, conv.input.height) * conv.input.width), weights(conv.multiplier * taps);
    std::vector<Source> sources;
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks.count; ++task) {
      for (int64_t lane = 0; lane < kLanes; ++lane)
        for (int64_t i = 0; i < conv.multiplier * height; ++i)
          for (int64_t j = 0; j < width; ++j)
            weights[i * width + width - 1 - j][lane] =
                weight[(tasks.channel(task, lane) * conv.multiplier * height + i) * width + j];
      tasks.for_each_block(task, [&](int64_t plane, int64_t count) {
        int64_t counted = 0;  // rows that are in the bias' gradient
        for (const Strip& strip : strips) {
          pack(input, strip.begin, strip.end, x + plane * input.size, input.size, count, values.data());
          for (int64_t m = 0; m < conv.multiplier; ++m) {
            Vec *total = &partial[(task * conv.multiplier + m) * sums], *grad = &grads[m * grads_size];
            pack(output, strip.from, strip.to, grad_out + (plane * conv.multiplier + m) * output.size,
                 conv.multiplier * output.size, count, grad);
            for (int64_t i = 0; i < height; ++i) {
              const int64_t ahead = conv.padding.height - i;
              const int64_t first = std::max(strip.from, divide_up(strip.begin + ahead, conv.stride.height));
              const int64_t last = std::min(strip.to, divide_up(strip.end + ahead, conv.stride.height));
              if (first >= last) continue;
              const int64_t row = first * conv.stride.height - ahead - strip.begin;
              correlate({&grad[(first - strip.from) * output.row + left], &values[row * input.row], last - first,
                         conv.output.width, output.row, conv.stride.height * input.row, step},
                        width, total + i * width);
            }
            Vec sum = {};
            for (int64_t y = std::max(counted, strip.from); y < strip.to; ++y)
              for (int64_t p = 0; p < conv.output.width; ++p) sum += grad[(y - strip.from) * output.row + left + p * step];
            total[taps] += sum;
          }
          counted = strip.to;
          for (int64_t y = strip.begin; y < strip.end; ++y) {
            sources.clear();
            for (int64_t m = 0; m < conv.multiplier; ++m)
              for (int64_t i = 0; i < height; ++i) {
                const int64_t ahead = y + conv.padding.height - i, row = ahead / conv.stride.height;
                if (ahead >= 0 && ahead % conv.stride.height == 0 && row < conv.output.height)
                  sources.push_back({&grads[m * grads_size + (row - strip.from) * output.row + conv.padding.width],
                                     &weights[(m * height + i) * width]});
              }
            sum_row(sources, width, 1, Vec{}, conv.input.width, &line[(y - strip.begin) * conv.input.width]);
          }
          unpack(line.data(), (strip.end - strip.begin) * conv.input.width,
                 grad_x + plane * input.size + strip.begin * conv.input.width, input.size, count);
        }
      });
    }
  }
  const int64_t outputs = conv.channels * conv.multiplier;
  std::fill_n(grad_weight, outputs * taps, 0.f);
  std::fill_n(grad_bias, outputs, 0.f);
  for (int64_t task = 0; task < tasks.count; ++task)
    for (int64_t lane = 0; lane < kLanes; ++lane)
      for (int64_t m = 0; m < conv.multiplier; ++m) {
        const int64_t o = tasks.channel(task, lane) * conv.multiplier + m;
        const Vec* total = &partial[(task * conv.multiplier + m) * sums];
        for (int64_t t = 0; t < taps; ++t) grad_weight[o * taps + t] += total[t][lane];
        grad_bias[o] += total[taps][lane];
      }
}
