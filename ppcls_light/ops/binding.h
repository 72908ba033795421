// For the bindings, which alone see Paddle's headers: these take most of the build.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "paddle/phi/api/all.h"
#include "paddle/phi/api/ext/op_meta_info.h"

using paddle::Tensor;
using Shape = std::vector<int64_t>;
using Tensors = std::vector<Tensor>;

inline Tensor empty(const Shape& shape) {
  return paddle::empty(shape, paddle::DataType::FLOAT32, paddle::CPUPlace());
}
