// The product of packed weights with columns, written to its places.

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "conv.h"
#include "tile.h"

namespace {

// A panel stays in the second cache beside some weights, on the smallest of today's processors.
constexpr int64_t kPanelFloats = 1 << 15;
constexpr int64_t kTasks = 16;  // at least, where the shape has as many

// totals[r][i]: `rows` outputs of a strip, its first `columns` vectors. Row k of its columns is strip[places[k]].
// `shortcut`, with the rows of `totals`, is added to the sums, not summed on: that is more exact.
template <int rows, int columns>
void product(int64_t depth, const float* weights, const float* strip, const int64_t* places, const float* bias,
             const float* shortcut, float* totals, int64_t step) {
  product_tile<rows, columns>(
      depth, [=](int r, int) { return broadcast(bias ? bias[r] : 0.f); },
      [=](int64_t k, int r) { return weights[k * rows + r]; },
      [=](int64_t k, int v) { return load(strip + places[k] + v * kLanes); },
      [=](int r, int v, Vec total) {
        const int64_t at = r * step + v * kLanes;
        store(totals + at, shortcut ? total + load(shortcut + at) : total);
      });
}

using Product = decltype(&product<1, 1>);

template <size_t... index>
constexpr std::array<Product, sizeof...(index)> products(std::index_sequence<index...>) {
  return {&product<index / kTileColumns + 1, index % kTileColumns + 1>...};
}

constexpr auto kProducts = products(std::make_index_sequence<kTileRows * kTileColumns>());

// Positions from `begin` of a strip that lie `step` apart in the output, at `to` of output 0.
struct Run {
  int64_t begin, length, to;
};

// Runs of `count` positions from `first`, without the padding that has numbers, too.
void find_runs(const Columns& columns, const Places& places, int64_t first, int64_t count, std::vector<Run>* runs) {
  const Pair numbered = columns.numbered;
  runs->clear();
  for (int64_t done = 0; done < count;) {
    const int64_t line = (first + done) / numbered.width, x = (first + done) % numbered.width;
    const int64_t n = line / numbered.height, y = line % numbered.height;
    const int64_t begin = done, length = std::min(columns.grid.width - x, count - done);
    done += std::min(numbered.width - x, count - done);
    if (y >= columns.grid.height || length <= 0) continue;
    const int64_t to = n * places.image + (places.begin.height + y * places.step.height) * places.plane.width +
                       places.begin.width + x * places.step.width;
    if (!runs->empty() && places.step.width == 1 && runs->back().begin + runs->back().length == begin &&
        runs->back().to + runs->back().length == to)
      runs->back().length += length;
    else
      runs->push_back({begin, length, to});
  }
}

// A block of outputs at a strip, of which runs are written.
void convolve_strip(int64_t rows, int64_t depth, const float* weights, const float* bias, const float* strip,
                    const int64_t* places, const std::vector<Run>& runs, int64_t channel, int64_t step,
                    const float* shortcut, float* out) {
  if (runs.empty()) return;
  const int64_t columns = divide_up(runs.back().begin + runs.back().length, kLanes);
  const Product product = kProducts[(rows - 1) * kTileColumns + columns - 1];
  if (runs.size() == 1 && step == 1 && runs[0].length == columns * kLanes) {
    product(depth, weights, strip, places, bias, shortcut ? shortcut + runs[0].to : nullptr, out + runs[0].to, channel);
    return;
  }
  alignas(kVecBytes) float totals[kTileRows * kStrip];
  product(depth, weights, strip, places, bias, nullptr, totals, kStrip);
  for (int64_t r = 0; r < rows; ++r)
    for (const Run& run : runs) {
      const float* from = totals + r * kStrip + run.begin;
      const int64_t at = run.to + r * channel;
      if (shortcut)
        strided(step, run.length, [=](int64_t i, int64_t k) { out[at + i] = from[k] + shortcut[at + i]; });
      else if (step == 1)
        copy(from, run.length, out + at);
      else
        strided(step, run.length, [=](int64_t i, int64_t k) { out[at + i] = from[k]; });
    }
}

}  // namespace

void convolve(const Columns& columns, const float* images, int64_t outputs, const float* packed, const float* bias,
              const float* shortcut, const Places& places, float* out) {
  const int64_t depth = columns.depth(), positions = columns.positions();
  const int64_t strips = divide_up(positions, kStrip), blocks = output_blocks(outputs);
  const int64_t length = kPanelFloats / std::max<int64_t>(1, columns.stored()) - columns.before - columns.after;
  const int64_t each = std::min(std::max<int64_t>(1, length / kStrip), std::max<int64_t>(1, strips / kTasks));
  const int64_t panels = divide_up(strips, each);
  const int64_t shares = std::min(blocks, std::max<int64_t>(1, kTasks / std::max<int64_t>(1, panels)));  // of the outputs
#pragma omp parallel
  {
    Panel panel(columns, each * kStrip);
    std::vector<std::vector<Run>> runs(each);  // of each strip
#pragma omp for schedule(monotonic : dynamic)
    for (int64_t task = 0; task < panels * shares; ++task) {
      const int64_t first = task / shares * each * kStrip, share = task % shares;
      const int64_t count = std::min(each * kStrip, positions - first);
      panel.fill(images, first, count);
      for (int64_t done = 0; done < count; done += kStrip)
        find_runs(columns, places, first + done, std::min(kStrip, count - done), &runs[done / kStrip]);
      // Strips in the inner loop: the rows of few outputs, each in a page of its own, are written at a time.
      for (int64_t block = share * blocks / shares; block < (share + 1) * blocks / shares; ++block) {
        const int64_t begin = output_begin(outputs, block), rows = output_begin(outputs, block + 1) - begin;
        for (int64_t done = 0; done < count; done += kStrip)
          convolve_strip(rows, depth, packed + begin * depth, bias ? bias + begin : nullptr, panel.data() + done,
                         panel.rows(), runs[done / kStrip], places.channel, places.step.width,
                         shortcut ? shortcut + begin * places.channel : nullptr, out + begin * places.channel);
      }
    }
  }
}
