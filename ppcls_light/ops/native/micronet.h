// The steps of a MicroNet that make maps; plan.py describes them.
#pragma once

#include <vector>

#include "step.h"

constexpr int64_t kMostStride = 16;

class Factorized : public Step {
 public:
  Factorized(Fields& fields, int64_t channels);
  Map output(const Map& in) const override {
    return {middles_ * outputs_, (in.height - 1) / down_ + 1, (in.width - 1) / across_ + 1};
  }
  Sizes sizes(const Map& in) const override;
  void run(const Work& work) const override;

  int64_t down() const { return down_; }
  int64_t across() const { return across_; }

 private:
  template <int height>
  void middle_rows(const Work& at, const int32_t* planes, const float* weights, float* out, int64_t line,
                   float* whole) const;
  template <int width>
  void output_plane(const Work& at, const float* rows, int64_t line, const float* weights, float* plane) const;

  int64_t padded(const Map& in) const { return (in.width + 2 * before_ + across_ - 1) / across_; }
  int64_t line(const Map& in) const { return padded(in) + 2 * kLanes; }
  // The rows of a middle, cut into phases.
  int64_t phase_size(const Map& in) const { return output(in).height * line(in); }

  int64_t column_, row_, down_, across_, above_, before_;
  bool relu6_;
  // A middle is the kx1 convolution of `inputs` planes; each has `outputs` 1xk convolutions.
  int64_t middles_, inputs_, outputs_;
  const int32_t* channels_;  // for each middle its inputs, then its outputs
  const float* weights_;
};

class Pointwise : public Step {
 public:
  Pointwise(Fields& fields, int64_t channels);
  Map output(const Map& in) const override { return {outputs_, in.height, in.width}; }
  Sizes sizes(const Map&) const override { return {}; }
  void run(const Work& work) const override;

 private:
  struct Tile {
    int64_t rows, inputs;
    const int32_t *outputs, *planes;
    const float* weights;
  };
  template <int rows>
  void tile(const Work& at, const Tile& tile) const;

  int64_t outputs_;
  bool relu6_;
  std::vector<Tile> tiles_;
};

class ShiftMax : public Step {
 public:
  ShiftMax(Fields& fields, int64_t channels);
  Map output(const Map& in) const override { return {in.channels, in.height, in.width}; }
  Sizes sizes(const Map& in) const override { return {hidden_ + 2 * fusions_ * in.channels, 0, in.channels}; }
  void run(const Work& work) const override;

 private:
  void coefficients(int64_t channels, const float* means, float* squeezed, float* coefficients) const;

  int64_t hidden_, fusions_;
  const int32_t* shift_;
  const float* weights_;
};

float mean(const float* plane, int64_t positions, bool relu6);
