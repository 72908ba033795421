// A plan is a header, the floats, and the integers: the number of steps; for each its kind, how many of the integers
// and of the floats that follow are its own, and those integers. `plan.py` writes it and describes each step.
//
// An image's steps are shared by all threads, or there is an image per thread if there are enough; the steps of the head
// take all images at once, so that weights are read once.

#include "network.h"

#include <cmath>
#include <cstring>

#include "../kernels/tile.h"
#include "micronet.h"

namespace {

constexpr char kMagic[] = "PPCLPLAN";
constexpr int64_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version, classes;
  uint64_t floats, integers;
  uint8_t parameters[32];  // the SHA-256 of the export's parameters, which is compared in Python
};

constexpr int64_t kSpan = 64;  // outputs of a block of a linear layer; the _SPAN of plan.py
constexpr int kSpanVecs = kSpan / kLanes;
constexpr int kImages = kManyRegisters ? 16 / kSpanVecs : 1;  // of a tile of a linear layer

int64_t blocks(int64_t outputs) { return (outputs + kSpan - 1) / kSpan; }

template <int images>
void linear_tile(int64_t inputs, int64_t outputs, const float* x, const float* weights, float* out, int64_t width) {
  float results[images][kSpan];
  product_tile<images, kSpanVecs>(
      inputs, [=](int, int v) { return load(weights + inputs * kSpan + v * kLanes); },
      [=](int64_t i, int n) { return x[n * inputs + i]; },
      [=](int64_t i, int v) { return load(weights + i * kSpan + v * kLanes); },
      [&](int n, int v, Vec total) { store(results[n] + v * kLanes, hardswish(total)); });
  for (int n = 0; n < images; ++n) std::copy(results[n], results[n] + width, out + n * outputs);
}

void softmax(int64_t batch, int64_t classes, const float* logits, float* out) {
  for (int64_t n = 0; n < batch; ++n, logits += classes, out += classes) {
    const float largest = *std::max_element(logits, logits + classes);
    float sum = 0.f;
    for (int64_t k = 0; k < classes; ++k) sum += out[k] = std::exp(logits[k] - largest);
    for (int64_t k = 0; k < classes; ++k) out[k] /= sum;
  }
}

}  // namespace

Network::Network(const void* plan, int64_t size) {
  Header header;
  require(size >= int64_t(sizeof header), "it is shorter than a plan's header");
  std::memcpy(&header, plan, sizeof header);
  require(std::memcmp(header.magic, kMagic, sizeof header.magic) == 0, "it does not begin as a plan does");
  require(header.version == kVersion, "it is of another version of this package");
  const uint64_t left = (size - sizeof header) / 4;
  require(size % 4 == 0 && header.floats <= left && header.integers == left - header.floats, "its length is not the one that it tells");
  const char* content = static_cast<const char*>(plan) + sizeof header;
  floats_.resize(header.floats);
  integers_.resize(header.integers);
  std::memcpy(floats_.data(), content, 4 * header.floats);
  std::memcpy(integers_.data(), content + 4 * header.floats, 4 * header.integers);
  read();
  require(classes_ == header.classes, "it has another number of classes than it tells");
}

void Network::read() {
  struct {
    int64_t channels, down, across;
  } now{3, 1, 1}, held{0, 0, 0};
  Fields all(integers_.data(), integers_.size(), floats_.data(), floats_.size());
  bool pooled = false;
  for (int64_t steps = all.integer(1, kMost); steps > 0; --steps) {
    const Kind kind = Kind(all.integer(kFactorized, kSigmoid));
    const int64_t count = all.integer(0, INT32_MAX), floats = all.integer(0, INT32_MAX);
    Fields fields(all.integers(count, INT32_MIN, INT32_MAX), count, all.floats(floats), floats);
    require(last_ == kLinear, "a step follows the probabilities");
    require(pooled == (kind >= kLinear), "a step is on the wrong side of the pooling");
    require(kind == kFactorized || !steps_.empty(), "no convolution is in front");
    switch (kind) {
      case kFactorized: {
        auto step = std::make_unique<Factorized>(fields, now.channels);
        now.down *= step->down(), now.across *= step->across();
        require(std::max(now.down, now.across) <= kMost, "the strides are too many");
        steps_.push_back({kind, std::move(step)});
        break;
      }
      case kPointwise: steps_.push_back({kind, std::make_unique<Pointwise>(fields, now.channels)}); break;
      case kShiftMax: steps_.push_back({kind, std::make_unique<ShiftMax>(fields, now.channels)}); break;
      case kHold:
        require(held.channels == 0, "a shortcut is within a shortcut");
        held = now;
        steps_.push_back({kind, nullptr});
        break;
      case kAddHeld:
        require(held.channels == now.channels && held.down == now.down && held.across == now.across,
                "a shortcut is of another size");
        held = {0, 0, 0};
        steps_.push_back({kind, nullptr});
        break;
      case kPool:
        relu6_ = fields.integer(0, 1);
        features_ = now.channels;
        pooled = true;
        break;
      case kLinear: {
        const int64_t inputs = fields.integer(now.channels, now.channels), outputs = fields.integer(1, kMost);
        head_.push_back({inputs, outputs, fields.floats(blocks(outputs) * (inputs + 1) * kSpan)});
        now.channels = outputs;
        break;
      }
      default: last_ = kind;
    }
    fields.end();
    if (!pooled && steps_.back().step) now.channels = steps_.back().step->output({now.channels, 1, 1}).channels;
  }
  all.end();
  require(!head_.empty(), "it ends without a linear layer");
  classes_ = now.channels;
}

void Network::prepare(const Map& image, int64_t batch, int64_t teams, int64_t threads, Memory& memory) const {
  int64_t largest = image.size(), widest = features_;
  Sizes most;
  Map map = image;
  for (const Place& place : steps_) {
    if (!place.step) continue;
    const Sizes sizes = place.step->sizes(map);
    most.own = std::max(most.own, sizes.own);
    most.offsets = std::max(most.offsets, sizes.offsets);
    most.shared = std::max(most.shared, sizes.shared);
    map = place.step->output(map);
    largest = std::max(largest, map.size());
  }
  for (const Linear& layer : head_) widest = std::max(widest, layer.outputs);
  const auto grow = [](auto& array, int64_t size) { array.resize(std::max<size_t>(array.size(), size)); };
  grow(memory.shared, teams);
  for (int64_t team = 0; team < teams; ++team) {
    for (auto& one : memory.shared[team].maps) grow(one, largest);
    grow(memory.shared[team].more, most.shared);
  }
  grow(memory.own, threads);
  for (int64_t thread = 0; thread < threads; ++thread) {
    grow(memory.own[thread].own, most.own);
    grow(memory.own[thread].offsets, most.offsets);
  }
  grow(memory.rows, batch * widest);
  grow(memory.next, batch * widest);
}

// The steps of one image up to the pooled features.
void Network::features(const Team& team, Memory::Shared& shared, Scratch& own, Map map, const float* image,
                       float* pooled) const {
  int current = -1, held = -1, next = 0;  // of the shared maps: x's, that of the shortcut, and the one after x
  // Vectors of another width would read past the image's end.
  map.packed = map.width % kLanes == 0;
  if (!map.packed) {
    current = 0;
    team.share(map.channels, [&](int64_t c) {
      const float* plane = image + c * map.positions();
      std::copy(plane, plane + map.positions(), shared.maps[current].data() + c * map.step());
    });
  }
  for (const Place& place : steps_) {
    const float* x = current < 0 ? image : shared.maps[current].data();
    if (place.kind == kHold) {
      held = current;
    } else if (place.kind == kAddHeld) {
      float* sum = shared.maps[current].data();
      const float* add = shared.maps[held].data();
      team.share(map.channels, [&](int64_t c) {
        for (int64_t p = c * map.step(); p < (c + 1) * map.step(); p += kLanes)
          store(sum + p, load(sum + p) + load(add + p));
      });
      held = -1;
    } else {
      for (next = 0; next == current || next == held; ++next) {
      }
      const Map to = place.step->output(map);
      place.step->run({team, map, x, to, shared.maps[next].data(), shared.more.data(), own});
      current = next;
      map = to;
    }
  }
  const float* x = shared.maps[current].data();
  team.share(map.channels, [&](int64_t c) {
    pooled[c] = hardswish(Vec{} + mean(x + c * map.step(), map.positions(), relu6_))[0];
  });
}

void Network::Linear::run(const Team& team, int64_t batch, const float* x, float* out) const {
  team.share(blocks(outputs), [&](int64_t block) {
    const float* mine = weights + block * (inputs + 1) * kSpan;
    const int64_t width = std::min(kSpan, outputs - block * kSpan);
    float* to = out + block * kSpan;
    int64_t n = 0;
    for (; n + kImages <= batch; n += kImages)
      linear_tile<kImages>(inputs, outputs, x + n * inputs, mine, to + n * outputs, width);
    for (; n < batch; ++n) linear_tile<1>(inputs, outputs, x + n * inputs, mine, to + n * outputs, width);
  });
}

void Network::run(int64_t batch, const Map& image, const float* x, Memory& memory, Pool& pool, float* out) const {
  const int64_t threads = pool.size();
  const bool alone = batch >= threads;
  prepare(image, batch, alone ? threads : 1, threads, memory);
  const auto of_image = [&](const Team& team, Memory::Shared& shared, Scratch& own, int64_t n) {
    features(team, shared, own, image, x + n * image.channels * image.positions(), memory.rows.data() + n * features_);
  };
  pool.run([&](const Team& team) {
    Scratch& own = memory.own[team.rank];
    if (alone)
      team.share(batch, [&](int64_t n) { of_image({0, 1, nullptr}, memory.shared[team.rank], own, n); });
    else
      for (int64_t n = 0; n < batch; ++n) of_image(team, memory.shared[0], own, n);
    float *from = memory.rows.data(), *to = memory.next.data();
    for (const Linear& layer : head_) {
      layer.run(team, batch, from, to);
      std::swap(from, to);
    }
    if (team.rank > 0) return;
    if (last_ == kSoftmax)
      softmax(batch, classes_, from, out);
    else if (last_ == kSigmoid)
      std::transform(from, from + batch * classes_, out, [](float logit) { return 1 / (1 + std::exp(-logit)); });
    else
      std::copy(from, from + batch * classes_, out);
  });
}
