// Columns of positions, and weights, packed for the products.

#include <algorithm>
#include <type_traits>
#include <utility>

#include "conv.h"

namespace {

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Rows (or columns) of an image with its padding, where images lie one after the other and share the padding between
// them. Taps see from `lowest` before a position to `highest` after it.
int64_t padded(int64_t plane, int64_t grid, int64_t lowest, int64_t highest) {
  return std::max({plane, grid + highest, plane - lowest});
}

}  // namespace

Columns::Columns(int64_t batch, int64_t channels, int64_t image, int64_t channel, Pair plane, Pair grid, Pair step,
                 std::vector<Pair> taps)
    : batch(batch), channels(channels), image(image), channel(channel), plane(plane), grid(grid), step(step),
      taps(std::move(taps)), numbered(grid), shifted(false) {
  if (step.height * step.width != 1) return;
  Pair lowest{0, 0}, highest{0, 0};
  for (const Pair& tap : this->taps) {
    lowest = {std::min(lowest.height, tap.height), std::min(lowest.width, tap.width)};
    highest = {std::max(highest.height, tap.height), std::max(highest.width, tap.width)};
  }
  const Pair all{padded(plane.height, grid.height, lowest.height, highest.height),
                 padded(plane.width, grid.width, lowest.width, highest.width)};
  // The products of padding are not worth it where it is most of a tiny map.
  if (all.height * all.width > 2 * grid.height * grid.width) return;
  numbered = all;
  shifted = true;
  for (const Pair& tap : this->taps) {
    before = std::max(before, -shift(tap));
    after = std::max(after, shift(tap));
  }
}

Columns columns_of_input(const Conv& conv) {
  std::vector<Pair> taps;
  for (int64_t y = 0; y < conv.kernel.height; ++y)
    for (int64_t x = 0; x < conv.kernel.width; ++x) taps.push_back({y - conv.padding.height, x - conv.padding.width});
  return {conv.batch, conv.inputs, conv.input_image(), conv.input.height * conv.input.width,
          conv.input, conv.output, conv.stride,        std::move(taps)};
}

Columns columns_of_gradient(const Conv& conv, const Columns& inputs) {
  Columns columns(conv.batch, conv.outputs, conv.output_image(), conv.output.height * conv.output.width, conv.output,
                  conv.output, {1, 1}, {{0, 0}});
  columns.numbered = inputs.numbered;
  return columns;
}

void pack_weights(const Weights& weights, int64_t outputs, int64_t channels, float* packed) {
  const int64_t taps = int64_t(weights.taps.size()), step = weights.output_step;
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < output_blocks(outputs); ++block) {
    const int64_t begin = output_begin(outputs, block), count = output_begin(outputs, block + 1) - begin;
    // A constant number of rows, that of most blocks, makes a fast loop.
    const auto pack = [&](auto rows) {
      float* to = packed + begin * channels * taps;
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t t = 0; t < taps; ++t, to += rows) {
          const float* from = weights.data + begin * step + c * weights.channel_step + weights.taps[t];
          strided(step, rows, [=](int64_t i, int64_t k) { to[k] = from[i]; });
        }
    };
    if (count == kTileRows)
      pack(std::integral_constant<int64_t, kTileRows>());
    else
      pack(count);
  }
}

// An odd number of vectors in a row keeps the values of a column in different sets of the cache. A vector may be
// written past the last row.
Panel::Panel(const Columns& columns, int64_t positions)
    : columns_(columns),
      step_((divide_up(columns.before + positions + columns.after, kLanes) | 1) * kLanes),
      vectors_(new Vec[columns.stored() * (step_ / kLanes) + 1]) {
  for (int64_t c = 0; c < columns.channels; ++c)
    for (size_t t = 0; t < columns.taps.size(); ++t)
      rows_.push_back(columns.shifted ? c * step_ + columns.before + columns.shift(columns.taps[t])
                                      : int64_t(rows_.size()) * step_);
}

void Panel::add_run(const Run& run) {
  if (runs_.empty()) return runs_.push_back(run);
  Run& last = runs_.back();
  if (run.length == 0)
    last.zeros += run.zeros;
  else if (last.zeros == 0 && columns_.step.width == 1 && last.from + last.length == run.from)
    last = {last.from, last.length + run.length, run.zeros};
  else
    runs_.push_back(run);
}

// What `tap` sees from positions [begin, end), some of which may lie before the first image or after the last.
void Panel::add_runs(Pair tap, int64_t begin, int64_t end) {
  const Pair plane = columns_.plane, step = columns_.step, numbered = columns_.numbered;
  for (int64_t at = begin; at < end;) {
    const int64_t line = floor_divide(at, numbered.width), x = at - line * numbered.width;
    const int64_t n = floor_divide(line, numbered.height), y = line - n * numbered.height;
    const int64_t length = std::min(numbered.width - x, end - at);
    const int64_t row = y * step.height + tap.height, column = x * step.width + tap.width;
    at += length;
    if (n < 0 || n >= columns_.batch || row < 0 || row >= plane.height) {
      add_run({0, 0, length});
      continue;
    }
    // The first i with column + i step.width >= 0, and the first with column + i step.width >= plane.width.
    const int64_t first = std::clamp<int64_t>(-floor_divide(column, step.width), 0, length);
    const int64_t last = std::clamp<int64_t>(-floor_divide(column - plane.width, step.width), first, length);
    if (first) add_run({0, 0, first});
    add_run({n * columns_.image + row * plane.width + column + first * step.width, last - first, length - last});
  }
}

void Panel::fill(const float* images, int64_t first, int64_t count) {
  const Columns& columns = columns_;
  runs_.clear();
  if (columns.shifted) {
    add_runs({0, 0}, first - columns.before, first + count + columns.after);
    add_run({0, 0, step_ - columns.before - count - columns.after});
  } else {
    for (const Pair& tap : columns.taps) {
      add_runs(tap, first, first + count);
      add_run({0, 0, step_ - count});
    }
  }
  const float* end = images + (columns.batch - 1) * columns.image + (columns.channels - 1) * columns.channel +
                     columns.plane.height * columns.plane.width;
  float* to = reinterpret_cast<float*>(vectors_.get());
  // Channels in the outer loop: neighbours in memory are read one after the other.
  for (int64_t c = 0; c < columns.channels; ++c)
    for (const Run& run : runs_) {
      const float* from = images + c * columns.channel + run.from;
      // Whole vectors, whose surplus is overwritten by what follows in the panel.
      if (columns.step.width != 1)
        strided(columns.step.width, run.length, [=](int64_t i, int64_t k) { to[k] = from[i]; });
      else if (run.length + kLanes <= end - from)
        for (int64_t i = 0; i < run.length; i += kLanes) store(to + i, load(from + i));
      else
        copy(from, run.length, to);
      to += run.length;
      for (int64_t i = 0; i < run.zeros; i += kLanes) store(to + i, Vec{});
      to += run.zeros;
    }
}
