// Arguments of an operator, checked: the layers refuse in the user's words what does not fit together; what is expected
// here keeps the kernels, which get bare arrays, inside of them.
#pragma once

#include "kernels/kernels.h"
#include "paddle/phi/api/all.h"

using paddle::Tensor;
using Shape = std::vector<int64_t>;

inline void expect(const char* what, int64_t found, int64_t fits) {
  PD_CHECK(found == fits, what, ": ", found, ", where ", fits, " would fit");
}

inline const float* values(const char* what, const Tensor& tensor, int64_t fits) {
  expect(what, tensor.numel(), fits);
  return tensor.data<float>();
}

inline const float* values(const char* what, const paddle::optional<Tensor>& tensor, int64_t fits) {
  return tensor ? values(what, *tensor, fits) : nullptr;
}

inline Planes planes(const Tensor& x) {
  const Shape shape = x.shape();
  expect("axes of x", shape.size(), 4);
  return {shape[0], shape[1], shape[2] * shape[3]};
}

inline Activation activation_of(int number) {
  PD_CHECK(number >= 0 && number <= int(Activation::gelu), "there is no activation ", number);
  return Activation(number);
}
