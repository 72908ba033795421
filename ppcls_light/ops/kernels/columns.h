// Columns of (N, C, P), the C channels at one position of one image, in tiles (C, kColumns).
//
// A tile stays in the cache while everything that concerns its columns is computed. Columns of several images share a
// tile where maps are small, so that vectors are full whatever the size of a map; columns past the last one are zero.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "rounding.h"
#include "simd.h"

constexpr int64_t kVectors = 4;  // of a row of a tile
constexpr int64_t kColumns = kVectors * kLanes;
constexpr int64_t kParts = 8;  // of all tiles, whose sums are added one by one

inline int64_t tile_count(const Planes& at) { return divide_up(at.batch * at.positions, kColumns); }

// Call visit(n, offset, place, count) for each image n that has columns of the tile: `count` of them begin at `offset`
// in channel 0 of the maps and at `place` in the tile.
template <typename Visit>
inline void for_each_run(const Planes& at, int64_t tile, Visit visit) {
  const int64_t first = tile * kColumns, last = std::min(first + kColumns, at.batch * at.positions);
  for (int64_t q = first; q < last;) {
    const int64_t n = q / at.positions, p = q % at.positions, count = std::min(at.positions - p, last - q);
    visit(n, n * at.channels * at.positions + p, q - first, count);
    q += count;
  }
}

inline void copy_row(const float* from, float* to, int64_t count) {
  if (count == kColumns)
    for (int64_t v = 0; v < kVectors; ++v) store(to + v * kLanes, load(from + v * kLanes));
  else
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

inline void read_columns(const Planes& at, int64_t tile, const float* maps, float* columns) {
  if ((tile + 1) * kColumns > at.batch * at.positions) std::fill_n(columns, at.channels * kColumns, 0.f);
  for_each_run(at, tile, [&](int64_t, int64_t offset, int64_t place, int64_t count) {
    for (int64_t c = 0; c < at.channels; ++c)
      copy_row(maps + offset + c * at.positions, columns + c * kColumns + place, count);
  });
}

inline void write_columns(const Planes& at, int64_t tile, const float* columns, float* maps) {
  for_each_run(at, tile, [&](int64_t, int64_t offset, int64_t place, int64_t count) {
    for (int64_t c = 0; c < at.channels; ++c)
      copy_row(columns + c * kColumns + place, maps + offset + c * at.positions, count);
  });
}
