// Depthwise convolution as a sum of shifted planes.
//
// A plane of the input is copied into a buffer with its zero padding, split into stride.height x stride.width
// phases: phase (a, b) holds the rows a, a + stride.height, ... and the columns b, b + stride.width, ... All
// phases are `row` wide. Seen as one long line, the output is then
//
//     line[p] = sum over taps (i, j) of weight[i][j] * buffer[offset(i, j) + p]
//
// with contiguous reads whatever the kernel size and stride; the last columns of each row of the line mean
// nothing and are dropped. The gradients are sums of the same kind over the same buffers, in which those columns
// of the output's gradient are zero.

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "simd.h"

namespace {

constexpr int64_t kImagesPerTask = 8;  // of the weight gradient

struct Tap {
  float weight;
  int64_t offset;
};

// Sizes and offsets of the buffers of one plane.
struct Layout {
  explicit Layout(const Depthwise& conv) : conv(conv) {
    rows = divide_up(conv.input.height + 2 * conv.padding.height, conv.stride.height);
    row = divide_up(conv.input.width + 2 * conv.padding.width, conv.stride.width);
    phases = conv.stride.height * conv.stride.width;
    taps = conv.kernel.height * conv.kernel.width;
    line = conv.output.height * row;
    lead = shift(conv.kernel.height - 1, conv.kernel.width - 1);
    // Vectors read and write past the end of a line.
    input_size = phases * rows * row + lead + 4 * kLanes;
    output_size = lead + rows * row + 4 * kLanes;
  }

  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
  int64_t phase(int64_t i, int64_t j) const {
    return i % conv.stride.height * conv.stride.width + j % conv.stride.width;
  }
  // Distance that tap (i, j) looks ahead within its phase.
  int64_t shift(int64_t i, int64_t j) const {
    return i / conv.stride.height * row + j / conv.stride.width;
  }
  int64_t offset(int64_t i, int64_t j) const { return phase(i, j) * rows * row + shift(i, j); }

  const Depthwise& conv;
  int64_t rows, row, phases, taps, line, lead, input_size, output_size;
};

// Call copy(plane, buffer, count) for each run of elements of an input plane, `stride.width` apart there and
// contiguous in the buffer.
template <typename Copy>
void for_each_run(const Layout& at, Copy copy) {
  const Depthwise& conv = at.conv;
  const int64_t step = conv.stride.width;
  for (int64_t y = 0; y < conv.input.height; ++y) {
    const int64_t padded = y + conv.padding.height;
    for (int64_t b = 0; b < step; ++b) {
      const int64_t first = std::max<int64_t>(0, Layout::divide_up(conv.padding.width - b, step));
      const int64_t x = first * step + b - conv.padding.width;
      if (x >= conv.input.width) continue;
      const int64_t line = at.phase(padded, b) * at.rows * at.row + padded / conv.stride.height * at.row;
      copy(y * conv.input.width + x, line + first, Layout::divide_up(conv.input.width - x, step));
    }
  }
}

void pack_input(const Layout& at, const float* __restrict plane, float* __restrict buffer) {
  for_each_run(at, [&](int64_t from, int64_t to, int64_t count) {
    strided(at.conv.stride.width, count, [&](int64_t i, int64_t k) { buffer[to + k] = plane[from + i]; });
  });
}

void unpack_input(const Layout& at, const float* __restrict buffer, float* __restrict plane) {
  for_each_run(at, [&](int64_t to, int64_t from, int64_t count) {
    strided(at.conv.stride.width, count, [&](int64_t i, int64_t k) { plane[to + i] = buffer[from + k]; });
  });
}

void pack_output(const Layout& at, const float* __restrict plane, float* __restrict buffer) {
  for (int64_t y = 0; y < at.conv.output.height; ++y)
    for (int64_t x = 0; x < at.conv.output.width; ++x)
      buffer[at.lead + y * at.row + x] = plane[y * at.conv.output.width + x];
}

void unpack_output(const Layout& at, const float* __restrict line, float* __restrict plane) {
  for (int64_t y = 0; y < at.conv.output.height; ++y)
    for (int64_t x = 0; x < at.conv.output.width; ++x)
      plane[y * at.conv.output.width + x] = line[y * at.row + x];
}

// out[p] = start + sum of taps, for kVecs vectors from p.
template <int kVecs>
void sum_taps_block(const float* in, const Tap* taps, int64_t count, float start, float* out) {
  Vec total[kVecs];
#pragma GCC unroll 8
  for (int v = 0; v < kVecs; ++v) total[v] = Vec{} + start;
  for (int64_t t = 0; t < count; ++t) {
    const float* from = in + taps[t].offset;
    const Vec weight = Vec{} + taps[t].weight;
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) total[v] += weight * load(from + v * kLanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVecs; ++v) store(out + v * kLanes, total[v]);
}

void sum_taps(const float* in, const Tap* taps, int64_t count, float start, float* out, int64_t length) {
  int64_t p = 0;
  for (; p + 4 * kLanes <= length; p += 4 * kLanes) sum_taps_block<4>(in + p, taps, count, start, out + p);
  for (; p < length; p += kLanes) sum_taps_block<1>(in + p, taps, count, start, out + p);
}

// total[t] += products of the output's line with the input's, shifted by offsets[t].
template <int kTaps>
void correlate_block(const float* line, const float* in, const int64_t* offsets, Vec* total, int64_t length) {
  Vec sum[kTaps];
#pragma GCC unroll 16
  for (int t = 0; t < kTaps; ++t) sum[t] = total[t];
  for (int64_t p = 0; p < length; p += kLanes) {
    const Vec value = load(line + p);
#pragma GCC unroll 16
    for (int t = 0; t < kTaps; ++t) sum[t] += value * load(in + offsets[t] + p);
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTaps; ++t) total[t] = sum[t];
}

void correlate(const float* line, const float* in, const std::vector<int64_t>& offsets, Vec* total,
               int64_t length) {
  const int64_t count = offsets.size();
  int64_t t = 0;
  for (; t + 9 <= count; t += 9) correlate_block<9>(line, in, &offsets[t], total + t, length);
  for (; t + 5 <= count; t += 5) correlate_block<5>(line, in, &offsets[t], total + t, length);
  for (; t + 3 <= count; t += 3) correlate_block<3>(line, in, &offsets[t], total + t, length);
  for (; t < count; ++t) correlate_block<1>(line, in, &offsets[t], total + t, length);
}

}  // namespace

void depthwise_forward(const Depthwise& conv, const float* x, const float* weight, const float* bias,
                       float* out) {
  const Layout at(conv);
  const int64_t in_plane = conv.input.height * conv.input.width;
  const int64_t out_plane = conv.output.height * conv.output.width;
#pragma omp parallel
  {
    std::vector<float> buffer(at.input_size), line(at.line + 4 * kLanes);
    std::vector<Tap> taps(at.taps);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < conv.batch * conv.channels; ++task) {
      pack_input(at, x + task * in_plane, buffer.data());
      for (int64_t m = 0; m < conv.multiplier; ++m) {
        const int64_t o = task % conv.channels * conv.multiplier + m;
        for (int64_t i = 0, t = 0; i < conv.kernel.height; ++i)
          for (int64_t j = 0; j < conv.kernel.width; ++j, ++t)
            taps[t] = {weight[o * at.taps + t], at.offset(i, j)};
        sum_taps(buffer.data(), taps.data(), at.taps, bias[o], line.data(), at.line);
        unpack_output(at, line.data(), out + (task * conv.multiplier + m) * out_plane);
      }
    }
  }
}

void depthwise_backward(const Depthwise& conv, const float* x, const float* weight, const float* grad_out,
                        float* grad_x, float* grad_weight, float* grad_bias) {
  const Layout at(conv);
  const int64_t in_plane = conv.input.height * conv.input.width;
  const int64_t out_plane = conv.output.height * conv.output.width;
  const int64_t out_channels = conv.channels * conv.multiplier;
  const int64_t sums = at.taps + 1;  // the last is the bias'
  const int64_t chunks = Layout::divide_up(conv.batch, kImagesPerTask);
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < conv.kernel.height; ++i)
    for (int64_t j = 0; j < conv.kernel.width; ++j) offsets.push_back(at.offset(i, j));
  std::vector<float> partial(chunks * out_channels * sums);
#pragma omp parallel
  {
    std::vector<float> buffer(at.input_size), gradient(at.input_size);
    std::vector<float> lines(conv.multiplier * at.output_size);
    std::vector<Vec> totals(conv.multiplier * sums);
    std::vector<std::vector<Tap>> taps(at.phases);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < chunks * conv.channels; ++task) {
      const int64_t chunk = task / conv.channels, c = task % conv.channels;
      const int64_t last = std::min(conv.batch, (chunk + 1) * kImagesPerTask);
      std::fill(totals.begin(), totals.end(), Vec{});
      // The gradient at a place of a phase is a sum of what its taps have looked ahead to, seen from behind.
      for (auto& phase : taps) phase.clear();
      for (int64_t m = 0; m < conv.multiplier; ++m)
        for (int64_t i = 0; i < conv.kernel.height; ++i)
          for (int64_t j = 0; j < conv.kernel.width; ++j) {
            const int64_t t = i * conv.kernel.width + j;
            taps[at.phase(i, j)].push_back({weight[(c * conv.multiplier + m) * at.taps + t],
                                            m * at.output_size + at.lead - at.shift(i, j)});
          }
      for (int64_t n = chunk * kImagesPerTask; n < last; ++n) {
        const int64_t plane = n * conv.channels + c;
        pack_input(at, x + plane * in_plane, buffer.data());
        for (int64_t m = 0; m < conv.multiplier; ++m) {
          float* line = lines.data() + m * at.output_size;
          pack_output(at, grad_out + (plane * conv.multiplier + m) * out_plane, line);
          Vec* total = totals.data() + m * sums;
          correlate(line + at.lead, buffer.data(), offsets, total, at.line);
          for (int64_t p = 0; p < at.line; p += kLanes) total[at.taps] += load(line + at.lead + p);
        }
        for (int64_t phase = 0; phase < at.phases; ++phase)
          sum_taps(lines.data(), taps[phase].data(), taps[phase].size(), 0.f,
                   gradient.data() + phase * at.rows * at.row, at.rows * at.row);
        unpack_input(at, gradient.data(), grad_x + plane * in_plane);
      }
      for (int64_t k = 0; k < conv.multiplier * sums; ++k)
        partial[(chunk * out_channels + c * conv.multiplier) * sums + k] = sum_lanes(totals[k]);
    }
  }
  for (int64_t o = 0; o < out_channels; ++o)
    for (int64_t t = 0; t < sums; ++t) {
      float total = 0.f;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[(chunk * out_channels + o) * sums + t];
      (t < at.taps ? grad_weight[o * at.taps + t] : grad_bias[o]) = total;
    }
}
