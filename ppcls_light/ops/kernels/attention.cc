// Cross-covariance attention, softmax(t Q K') V with rows of Q and K at unit length, for each head of each image.
//
// Q, K, V of a head are rows (width, P) that are next to each other in (N, 3 C, P). Matrices are copied to rows of whole
// vectors, whatever P is. The gradient of a row at unit length is what is across of the row, over its length.

#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "kernels.h"
#include "product.h"
#include "rounding.h"
#include "simd.h"

namespace {

constexpr float kLeastLength = 1e-12f;  // of a row, as in Paddle's `normalize`


// A matrix whose rows are whole vectors; what is past a row's end is zero.
struct Matrix {
  Matrix(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), vectors(divide_up(columns, kLanes)), step(vectors * kLanes), data(rows * step) {}
  float* row(int64_t r) { return data.data() + r * step; }
  const float* row(int64_t r) const { return data.data() + r * step; }

  int64_t rows, columns, vectors, step;
  std::vector<float> data;
};

// Writes what is past a row's end, too: a NaN of the image before has made it one.
void read(const float* from, Matrix* to) {
  for (int64_t r = 0; r < to->rows; ++r)
    std::fill(std::copy_n(from + r * to->columns, to->columns, to->row(r)), to->row(r) + to->step, 0.f);
}

void write(const Matrix& from, float* to) {
  for (int64_t r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.columns, to + r * from.columns);
}

void transpose(const Matrix& from, Matrix* to) {
  for (int64_t r = 0; r < from.rows; ++r)
    for (int64_t c = 0; c < from.columns; ++c) to->row(c)[r] = from.row(r)[c];
}

// out = left right, or left' right.
void multiply(const Matrix& left, bool transposed, const Matrix& right, Matrix* out) {
  const Factors factors{left.row(0), transposed ? 1 : left.step, transposed ? left.step : 1};
  multiply(out->rows, out->vectors, right.rows, factors, right.row(0), right.step, out->row(0), out->step, false);
}

// Bring the rows to unit length; lengths[r] is what they were divided by.
void normalise(Matrix* matrix, float* lengths) {
  for (int64_t r = 0; r < matrix->rows; ++r) {
    float* row = matrix->row(r);
    Vec squares = {};
    for (int64_t p = 0; p < matrix->step; p += kLanes) squares += load(row + p) * load(row + p);
    lengths[r] = std::max(std::sqrt(sum_lanes(squares)), kLeastLength);
    for (int64_t p = 0; p < matrix->step; p += kLanes) store(row + p, load(row + p) / lengths[r]);
  }
}

// grad = (grad - (grad' unit) unit) / length for each row.
void project(const Matrix& unit, const float* lengths, Matrix* grad) {
  for (int64_t r = 0; r < grad->rows; ++r) {
    float* row = grad->row(r);
    Vec products = {};
    for (int64_t p = 0; p < grad->step; p += kLanes) products += load(row + p) * load(unit.row(r) + p);
    // A row of no length was divided by a constant.
    const float along = lengths[r] > kLeastLength ? sum_lanes(products) : 0.f;
    for (int64_t p = 0; p < grad->step; p += kLanes)
      store(row + p, (load(row + p) - load(unit.row(r) + p) * along) / lengths[r]);
  }
}

// weights = softmax(temperature cosines), each row by itself.
void softmax(float temperature, const Matrix& cosines, Matrix* weights) {
  const Mask padding = last_lanes(cosines.step - cosines.columns);
  const int64_t last = cosines.step - kLanes;
  for (int64_t r = 0; r < cosines.rows; ++r) {
    const float* from = cosines.row(r);
    float* to = weights->row(r);
    const Vec first = Vec{} + temperature * from[0];
    const auto score = [&](int64_t c) {
      const Vec value = load(from + c) * temperature;
      return c == last ? (Vec)(padding ? (Mask)first : (Mask)value) : value;
    };
    Vec largest = first, total = {};
    for (int64_t c = 0; c <= last; c += kLanes) largest = score(c) > largest ? score(c) : largest;
    float shift = largest[0];
    for (int i = 1; i < kLanes; ++i) shift = std::max(shift, largest[i]);
    for (int64_t c = 0; c <= last; c += kLanes) {
      Vec value = exponential(score(c) - shift);
      if (c == last) value = keep_lanes(value, ~padding);
      store(to + c, value);
      total += value;
    }
    const float scale = 1 / sum_lanes(total);
    for (int64_t c = 0; c <= last; c += kLanes) store(to + c, load(to + c) * scale);
  }
}

// The matrices of one head.
struct Head {
  explicit Head(const Attention& at)
      : query(at.width, at.positions), key(query), value(query), turned(at.positions, at.width),
        cosines(at.width, at.width), weights(cosines), lengths(2 * at.width) {}

  // Compute the weights of the head of an image; `qkv` is its query's first row, `step` from there to the key's.
  void attend(const float* qkv, int64_t step, float temperature) {
    read(qkv, &query);
    read(qkv + step, &key);
    read(qkv + 2 * step, &value);
    normalise(&query, &lengths[0]);
    normalise(&key, &lengths[query.rows]);
    transpose(key, &turned);
    multiply(query, false, turned, &cosines);
    softmax(temperature, cosines, &weights);
  }

  Matrix query, key, value, turned, cosines, weights;
  std::vector<float> lengths;  // of the query's rows, then the key's
};

}  // namespace

void attention_forward(const Attention& at, const float* qkv, const float* temperature, float* out) {
  const int64_t size = at.width * at.positions, step = at.heads * size;
#pragma omp parallel
  {
    Head head(at);
    Matrix mixed(at.width, at.positions);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < at.batch * at.heads; ++task) {
      const int64_t n = task / at.heads, h = task % at.heads;
      head.attend(qkv + 3 * n * step + h * size, step, temperature[h]);
      multiply(head.weights, false, head.value, &mixed);
      write(mixed, out + n * step + h * size);
    }
  }
}

void attention_backward(const Attention& at, const float* qkv, const float* temperature, const float* grad_out,
                        float* grad_qkv, float* grad_temperature) {
  const int64_t size = at.width * at.positions, step = at.heads * size;
  std::vector<float> partial(at.batch * at.heads);
#pragma omp parallel
  {
    Head head(at);
    Matrix grad(at.width, at.positions), result(grad), slopes(at.width, at.width);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < at.batch * at.heads; ++task) {
      const int64_t n = task / at.heads, h = task % at.heads, first = 3 * n * step + h * size;
      head.attend(qkv + first, step, temperature[h]);
      read(grad_out + n * step + h * size, &grad);
      multiply(head.weights, true, grad, &result);
      write(result, grad_qkv + first + 2 * step);
      transpose(head.value, &head.turned);
      multiply(grad, false, head.turned, &slopes);
      Vec total = {};
      for (int64_t i = 0; i < at.width; ++i) {
        const float *weights = head.weights.row(i), *cosines = head.cosines.row(i);
        float* slope = slopes.row(i);
        Vec mean = {};
        for (int64_t j = 0; j < slopes.step; j += kLanes) mean += load(weights + j) * load(slope + j);
        const float centre = sum_lanes(mean);
        for (int64_t j = 0; j < slopes.step; j += kLanes) {
          const Vec grad = load(weights + j) * (load(slope + j) - centre);
          total += grad * load(cosines + j);
          store(slope + j, grad * temperature[h]);
        }
      }
      partial[task] = sum_lanes(total);
      multiply(slopes, false, head.key, &result);
      project(head.query, &head.lengths[0], &result);
      write(result, grad_qkv + first);
      multiply(slopes, true, head.query, &result);
      project(head.key, &head.lengths[at.width], &result);
      write(result, grad_qkv + first + step);
    }
  }
  std::fill_n(grad_temperature, at.heads, 0.f);
  for (int64_t task = 0; task < at.batch * at.heads; ++task) grad_temperature[task % at.heads] += partial[task];
}
