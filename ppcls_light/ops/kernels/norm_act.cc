// Batch norm with the batch's statistics, and the activation after it, in one pass forward and two backward.
//
// The normalised values are not kept: the gradient computes them anew from the input, which costs less than
// reading them. So is the gradient of the activation, if it is cheap; if not, it waits in grad_x.

#include <algorithm>
#include <vector>

#include "activations.h"
#include "kernels.h"
#include "norm_act.h"
#include "rounding.h"
#include "simd.h"

namespace {

// All lanes of a vector, and of the last vector of a plane, which may overlap the one before it, those that are new.
struct AllLanes {
  Vec only(Vec value) const { return value; }
  Vec or_else(Vec value, Vec) const { return value; }
};
struct NewLanes {
  Vec only(Vec value) const { return keep_lanes(value, mask); }  // zero in the others, for sums
  Vec or_else(Vec value, Vec seen) const { return mask ? value : seen; }
  Mask mask;
};

// Call body(place, lanes) for the vectors of a plane.
template <typename Body>
inline void along(int64_t positions, Body body) {
  const int64_t whole = positions / kLanes * kLanes;
  for (int64_t p = 0; p < whole; p += kLanes) body(p, AllLanes{});
  if (whole < positions) body(positions - kLanes, NewLanes{last_lanes(positions - whole)});
}

constexpr int64_t kRow = 512;                // elements of an image that are read at a time
constexpr int64_t kCached = 1 << 16;         // elements of a group, which is read twice, at most
constexpr int64_t kGroups = 16;              // at least, where there are as many channels
constexpr int64_t kSinglePrecision = 4096;  // elements of a sum in single precision

// Some neighbouring channels. Their planes lie one after the other in each image: small ones are read as long rows.
struct Group {
  Group(const Planes& at, int64_t task)
      : at(at), begin(at.channels * task / tasks(at)), end(at.channels * (task + 1) / tasks(at)) {}
  static int64_t tasks(const Planes& at) {
    const int64_t row = std::min(kRow, kCached / at.batch);
    return divide_up(at.channels, std::clamp<int64_t>(row / at.positions, 1, divide_up(at.channels, kGroups)));
  }

  // Call body(channel of the group, place of its plane) for images [first, last).
  template <typename Body>
  void planes(int64_t first, int64_t last, Body body) const {
    for (int64_t n = first; n < last; ++n)
      for (int64_t c = begin; c < end; ++c) body(c - begin, (n * at.channels + c) * at.positions);
  }

  // Call each(channel of the group, channel).
  template <typename Each>
  void channels(Each each) const {
    for (int64_t c = begin; c < end; ++c) each(c - begin, c);
  }

  const Planes& at;
  int64_t begin, end;
};

// The sums over images of two terms for each channel of a group.
struct Sums {
  explicit Sums(const Group& group) : first(group.end - group.begin), second(first.size()) {}

  // add(channel of the group, place of its plane, a, b) adds those of a plane.
  template <typename Add>
  void of(const Group& group, Add add) {
    const int64_t batch = group.at.batch, images = std::max<int64_t>(1, kSinglePrecision / group.at.positions);
    for (int64_t n = 0; n < batch; n += images) {
      std::vector<Vec> a(first.size()), b(first.size());
      group.planes(n, std::min(batch, n + images), [&](int64_t c, int64_t plane) { add(c, plane, a[c], b[c]); });
      for (size_t c = 0; c < first.size(); ++c) first[c] += sum_lanes(a[c]), second[c] += sum_lanes(b[c]);
    }
  }

  std::vector<double> first, second;
};

// The sums of two terms over a plane are added to a and b, in registers; add(place, lanes, a, b) adds a vector's.
template <typename Add>
inline void add_plane(int64_t positions, Vec& a, Vec& b, Add add) {
  Vec first = {}, second = {};
  along(positions, [&](int64_t p, auto lanes) { add(p, lanes, first, second); });
  a += first;
  b += second;
}

template <typename Act>
void forward(const Planes& at, const float* x, const Norm& norm, float* out) {
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < Group::tasks(at); ++task) {
    const Group group(at, task);
    // Statistics about the mean of the first image, so that nothing cancels.
    std::vector<float> centres(group.end - group.begin);
    group.planes(0, 1, [&](int64_t c, int64_t plane) {
      Vec sum = {};
      along(at.positions, [&](int64_t p, auto lanes) { sum += lanes.only(load(x + plane + p)); });
      centres[c] = sum_lanes(sum) / at.positions;
    });
    Sums sums(group);
    sums.of(group, [&](int64_t c, int64_t plane, Vec& a, Vec& b) {
      const float centre = centres[c];
      add_plane(at.positions, a, b, [=](int64_t p, auto lanes, Vec& differences, Vec& squares) {
        const Vec difference = lanes.only(load(x + plane + p) - centre);
        differences += difference;
        squares += difference * difference;
      });
    });
    std::vector<Affine> affines;
    group.channels([&](int64_t i, int64_t c) {
      norm.set(c, centres[i], sums.first[i], sums.second[i], at.batch * at.positions);
      affines.emplace_back(norm.gamma, norm.beta, norm.mean, norm.inverse_std, c);
    });
    group.planes(0, at.batch, [&](int64_t c, int64_t plane) {
      const Affine affine = affines[c];
      along(at.positions, [=](int64_t p, auto) {
        store(out + plane + p, Act::value(load(x + plane + p) * affine.scale + affine.shift));
      });
    });
  }
}

template <typename Act>
void backward(const Planes& at, const float* x, const float* gamma, const float* beta, const float* mean,
              const float* inverse_std, const float* grad_out, float* grad_x, float* grad_gamma, float* grad_beta) {
  const auto grad_at = [=](int64_t place, Vec value, const Affine& affine) {
    return load(grad_out + place) * Act::slope(value * affine.scale + affine.shift);
  };
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < Group::tasks(at); ++task) {
    const Group group(at, task);
    std::vector<Affine> affines;
    group.channels([&](int64_t, int64_t c) { affines.emplace_back(gamma, beta, mean, inverse_std, c); });
    Sums sums(group);
    sums.of(group, [&](int64_t c, int64_t plane, Vec& a, Vec& b) {
      const Affine affine = affines[c];
      const float middle = mean[group.begin + c];
      add_plane(at.positions, a, b, [=](int64_t p, auto lanes, Vec& grads, Vec& products) {
        const Vec value = load(x + plane + p), all = grad_at(plane + p, value, affine), grad = lanes.only(all);
        if (Act::kCostly) store(grad_x + plane + p, all);
        grads += grad;
        products += grad * (value - middle);
      });
    });
    std::vector<Gradient> gradients;
    group.channels([&](int64_t i, int64_t c) {
      grad_beta[c] = sums.first[i];
      grad_gamma[c] = sums.second[i] * inverse_std[c];
      gradients.emplace_back(sums.first[i], sums.second[i], at.batch * at.positions, inverse_std[c]);
    });
    group.planes(0, at.batch, [&](int64_t c, int64_t plane) {
      const Affine affine = affines[c];
      const Gradient gradient = gradients[c];
      const float middle = mean[group.begin + c];
      along(at.positions, [=](int64_t p, auto lanes) {
        const Vec value = load(x + plane + p);
        const Vec grad = Act::kCostly ? load(grad_x + plane + p) : grad_at(plane + p, value, affine);
        const Vec result = affine.scale * (grad - gradient.centre - (value - middle) * gradient.lean);
        store(grad_x + plane + p, Act::kCostly ? lanes.or_else(result, grad) : result);
      });
    });
  }
}

}  // namespace

void norm_act_forward(const Planes& at, Activation activation, const float* x, const float* gamma,
                      const float* beta, float epsilon, float momentum, float* running_mean, float* running_variance,
                      float* mean, float* inverse_std, float* out) {
  const Norm norm{gamma, beta, epsilon, momentum, running_mean, running_variance, mean, inverse_std};
  if (at.positions <= kSmallPlane) return small_norm_act_forward(at, activation, x, norm, out);
  with_activation(activation, [&](auto act) { forward<decltype(act)>(at, x, norm, out); });
}

void norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                       const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                       float* grad_x, float* grad_gamma, float* grad_beta) {
  if (at.positions <= kSmallPlane)
    return small_norm_act_backward(at, activation, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma,
                                   grad_beta);
  with_activation(activation, [&](auto act) {
    backward<decltype(act)>(at, x, gamma, beta, mean, inverse_std, grad_out, grad_x, grad_gamma, grad_beta);
  });
}
