// Columns of positions, packed for the products.

#include <algorithm>

#include "conv.h"

namespace {

// `length` neighbours of a row of an image, with zeros before and after them.
struct Copy {
  int64_t from, to, before, length, after;
};

void run_copy(const Copy& run, const float* from, int64_t step, float* to) {
  from += run.from;
  to += run.to;
  for (int64_t i = 0; i < run.before; ++i) to[i] = 0.f;
  to += run.before;
  if (step == 1)
    copy(from, run.length, to);
  else
    strided(step, run.length, [=](int64_t i, int64_t k) { to[k] = from[i]; });
  for (int64_t i = 0; i < run.after; ++i) to[run.length + i] = 0.f;
}

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Adds the copies of `length` positions of row y of image n from x on, which go to `to`, for each tap.
void add_copies(const Columns& columns, int64_t n, int64_t y, int64_t x, int64_t length, int64_t to, int64_t width,
                std::vector<Copy>* copies) {
  for (const Pair& tap : columns.taps) {
    const int64_t row = y * columns.step.height + tap.height, column = x * columns.step.width + tap.width;
    int64_t before = length, after = 0, inside = 0;
    if (row >= 0 && row < columns.plane.height) {
      // The first i with column + i step >= 0, and the first with column + i step >= width.
      before = std::clamp<int64_t>(-floor_divide(column, columns.step.width), 0, length);
      const int64_t end = -floor_divide(column - columns.plane.width, columns.step.width);
      inside = std::clamp<int64_t>(end, before, length) - before;
      after = length - before - inside;
    }
    const int64_t from = n * columns.image + row * columns.plane.width + column + before * columns.step.width;
    copies->push_back({from, to, before, inside, after});
    to += width;
  }
}

}  // namespace

Columns columns_of_planes(int64_t batch, int64_t channels, int64_t positions, int64_t image) {
  return {batch, channels, image, positions, {1, positions}, {1, positions}, {1, 1}, {{0, 0}}};
}

Columns columns_of_input(const Conv& conv) {
  const Pair input = conv.input, kernel = conv.kernel, stride = conv.stride, padding = conv.padding;
  if (kernel.height * kernel.width * stride.height * stride.width == 1 && padding.height + padding.width == 0)
    return columns_of_planes(conv.batch, conv.inputs, input.height * input.width, conv.input_image());
  Columns columns{conv.batch, conv.inputs, conv.input_image(), input.height * input.width, input, conv.output, stride, {}};
  for (int64_t y = 0; y < kernel.height; ++y)
    for (int64_t x = 0; x < kernel.width; ++x) columns.taps.push_back({y - padding.height, x - padding.width});
  return columns;
}

Columns columns_of_gradient(const Conv& conv) {
  return columns_of_planes(conv.batch, conv.outputs, conv.output.height * conv.output.width, conv.output_image());
}

void pack_weights(const Weights& weights, int64_t outputs, int64_t channels, float* packed) {
  const int64_t taps = int64_t(weights.taps.size());
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < output_blocks(outputs); ++block) {
    const int64_t begin = output_begin(outputs, block), rows = output_begin(outputs, block + 1) - begin;
    float* to = packed + begin * channels * taps;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) {
        const float* from = weights.data + begin * weights.output_step + c * weights.channel_step + weights.taps[t];
        for (int64_t r = 0; r < rows; ++r) *to++ = from[r * weights.output_step];
      }
  }
}

void pack(const Columns& columns, const float* images, int64_t first, int64_t count, int64_t width, float* panel) {
  const int64_t depth = columns.depth(), line = columns.grid.width, lines = columns.grid.height;
  std::vector<Copy> copies;
  for (int64_t done = 0; done < count;) {
    const int64_t position = first + done, strip = done / width, place = done % width, x = position % line;
    const int64_t length = std::min({line - x, count - done, width - place});
    add_copies(columns, position / line / lines, position / line % lines, x, length, strip * depth * width + place,
               width, &copies);
    done += length;
  }
  // Channels in the outer loop: neighbours in memory are read one after the other.
  const int64_t rows = int64_t(columns.taps.size()) * width;
  for (int64_t c = 0; c < columns.channels; ++c)
    for (const Copy& run : copies) run_copy(run, images + c * columns.channel, columns.step.width, panel + c * rows);
  const int64_t rest = count % width;
  if (rest)
    for (int64_t row = 0; row < depth; ++row)
      std::fill_n(panel + (count / width * depth + row) * width + rest, width - rest, 0.f);
}
