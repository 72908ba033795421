// MicroNet's kernels as operators of Paddle.

#include "binding.h"

namespace {

ShiftMax shift_max_layer(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze_bias,
                         float range) {
  const Shape shape = x.shape();
  return {shape[0], shape[1], shape[2] * shape[3], squeeze_bias.numel(), lowest.numel() / (2 * shape[1]),
          shift.data<int64_t>(), range, lowest.data<float>()};
}

Tensors shift_max(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze,
                  const Tensor& squeeze_bias, const Tensor& excite, const Tensor& excite_bias, float range) {
  const ShiftMax layer = shift_max_layer(x, shift, lowest, squeeze_bias, range);
  Tensor out = empty(x.shape()), means = empty({layer.batch, layer.channels});
  Tensor hidden = empty({layer.batch, layer.hidden}), gates = empty({layer.batch, lowest.numel()});
  shift_max_forward(layer, x.data<float>(),
                    {squeeze.data<float>(), squeeze_bias.data<float>(), excite.data<float>(), excite_bias.data<float>()},
                    means.data<float>(), hidden.data<float>(), gates.data<float>(), out.data<float>());
  return {out, means, hidden, gates};
}

Tensors shift_max_grad(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze,
                       const Tensor& squeeze_bias, const Tensor& excite, const Tensor& excite_bias,
                       const Tensor& means, const Tensor& hidden, const Tensor& gates, const Tensor& grad_out,
                       float range) {
  Tensor grad_x = empty(x.shape()), grad_squeeze = empty(squeeze.shape()), grad_excite = empty(excite.shape());
  Tensor grad_squeeze_bias = empty(squeeze_bias.shape()), grad_excite_bias = empty(excite_bias.shape());
  shift_max_backward(shift_max_layer(x, shift, lowest, squeeze_bias, range), x.data<float>(),
                     {squeeze.data<float>(), squeeze_bias.data<float>(), excite.data<float>(), excite_bias.data<float>()},
                     means.data<float>(), hidden.data<float>(), gates.data<float>(), grad_out.data<float>(),
                     grad_x.data<float>(),
                     {grad_squeeze.data<float>(), grad_squeeze_bias.data<float>(), grad_excite.data<float>(),
                      grad_excite_bias.data<float>()});
  return {grad_x, grad_squeeze, grad_squeeze_bias, grad_excite, grad_excite_bias};
}

std::vector<Shape> shift_max_shape(const Shape& x, const Shape&, const Shape& lowest, const Shape&,
                                   const Shape& squeeze_bias, const Shape&, const Shape&, float) {
  return {x, {x[0], x[1]}, {x[0], squeeze_bias[0]}, {x[0], lowest[0]}};
}

std::vector<paddle::DataType> shift_max_type(paddle::DataType x, paddle::DataType, paddle::DataType, paddle::DataType,
                                             paddle::DataType, paddle::DataType, paddle::DataType) {
  return {x, x, x, x};
}

}  // namespace

PD_BUILD_OP(ppcls_shift_max)
    .Inputs({"X", "Shift", "Lowest", "Squeeze", "SqueezeBias", "Excite", "ExciteBias"})
    .Outputs({"Out", "Means", "Hidden", "Gates"})
    .Attrs({"range: float"})
    .SetKernelFn(PD_KERNEL(shift_max))
    .SetInferShapeFn(PD_INFER_SHAPE(shift_max_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(shift_max_type));
PD_BUILD_GRAD_OP(ppcls_shift_max)
    .Inputs({"X", "Shift", "Lowest", "Squeeze", "SqueezeBias", "Excite", "ExciteBias", "Means", "Hidden", "Gates",
             paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Squeeze"), paddle::Grad("SqueezeBias"), paddle::Grad("Excite"),
              paddle::Grad("ExciteBias")})
    .Attrs({"range: float"})
    .SetKernelFn(PD_KERNEL(shift_max_grad));
