// The kernels as operators of Paddle, of which only this file and arguments.h read headers: they take most of the build.

#include <algorithm>

#include "arguments.h"
#include "paddle/phi/api/all.h"
#include "paddle/phi/api/ext/op_meta_info.h"

using Tensors = std::vector<Tensor>;

namespace {

Tensor empty(const Shape& shape) { return paddle::empty(shape, paddle::DataType::FLOAT32, paddle::CPUPlace()); }

// Paddle may add to a gradient in its place: one that equals another is a copy.
Tensor copy(const Tensor& from) {
  constexpr int64_t kPiece = 1 << 14;
  Tensor to = empty(from.shape());
  const float* values = from.data<float>();
  float* copies = to.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < from.numel(); begin += kPiece)
    std::copy_n(values + begin, std::min(kPiece, from.numel() - begin), copies + begin);
  return to;
}

Pair output_of(const Shape& x, const Pair& kernel, const std::vector<int>& stride, const std::vector<int>& padding) {
  expect("axes of x", x.size(), 4);
  const int64_t height = x[2] + 2 * padding[0] - kernel.height, width = x[3] + 2 * padding[1] - kernel.width;
  PD_CHECK(height >= 0 && width >= 0, "the kernel is larger than the padded map");
  return {height / stride[0] + 1, width / stride[1] + 1};
}

Depthwise depthwise(const Shape& x, const Shape& weight, const std::vector<int>& stride,
                    const std::vector<int>& padding) {
  expect("axes of the weight", weight.size(), 4);
  expect("channels that the weight sums", weight[1], 1);
  const Pair kernel = {weight[2], weight[3]}, output = output_of(x, kernel, stride, padding);
  const int64_t multiplier = x[1] ? weight[0] / x[1] : 0;
  expect("channels of the weight", weight[0], multiplier * x[1]);
  return {x[0], x[1], multiplier, {x[2], x[3]}, output, kernel, {stride[0], stride[1]}, {padding[0], padding[1]}};
}

Tensors depthwise_conv(const Tensor& x, const Tensor& weight, const Tensor& bias,
                       const std::vector<int>& stride, const std::vector<int>& padding) {
  const Depthwise conv = depthwise(x.shape(), weight.shape(), stride, padding);
  Tensor out = empty({conv.batch, weight.shape()[0], conv.output.height, conv.output.width});
  depthwise_forward(conv, x.data<float>(), weight.data<float>(), values("bias", bias, weight.shape()[0]),
                    out.data<float>());
  return {out};
}

Tensors depthwise_conv_grad(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& grad_out, const std::vector<int>& stride,
                            const std::vector<int>& padding) {
  const Depthwise conv = depthwise(x.shape(), weight.shape(), stride, padding);
  Tensor grad_x = empty(x.shape()), grad_weight = empty(weight.shape()), grad_bias = empty(bias.shape());
  const int64_t outputs = conv.batch * weight.shape()[0] * conv.output.height * conv.output.width;
  depthwise_backward(conv, x.data<float>(), weight.data<float>(), values("gradient", grad_out, outputs),
                     grad_x.data<float>(), grad_weight.data<float>(), grad_bias.data<float>());
  return {grad_x, grad_weight, grad_bias};
}

std::vector<Shape> depthwise_conv_shape(const Shape& x, const Shape& weight, const Shape&,
                                        const std::vector<int>& stride, const std::vector<int>& padding) {
  const Depthwise conv = depthwise(x, weight, stride, padding);
  return {{conv.batch, weight[0], conv.output.height, conv.output.width}};
}

// A weight of two axes is a linear layer's, (inputs, outputs). Channels of x after the weight's are carried.
Conv conv(const Shape& x, const Shape& weight, const std::vector<int>& stride, const std::vector<int>& padding) {
  const bool linear = weight.size() == 2;
  if (!linear) expect("axes of the weight", weight.size(), 4);
  const Pair kernel = linear ? Pair{1, 1} : Pair{weight[2], weight[3]}, output = output_of(x, kernel, stride, padding);
  const int64_t inputs = linear ? weight[0] : weight[1], carried = x[1] - inputs;
  PD_CHECK(carried == 0 || (carried > 0 && output.height == x[2] && output.width == x[3]),
           "channels pass a convolution by only if it keeps the size of their maps");
  return {x[0], inputs, linear ? weight[1] : weight[0], {x[2], x[3]}, output, kernel, {stride[0], stride[1]},
          {padding[0], padding[1]}, linear, carried};
}

std::vector<Shape> conv_shape(const Shape& x, const Shape& weight, const paddle::optional<Shape>&,
                              const paddle::optional<Shape>&, const std::vector<int>& stride,
                              const std::vector<int>& padding, bool) {
  const Conv shape = conv(x, weight, stride, padding);
  return {{shape.batch, shape.outputs + shape.carried, shape.output.height, shape.output.width}};
}

Tensors conv_forward_op(const Tensor& x, const Tensor& weight, const paddle::optional<Tensor>& bias,
                        const paddle::optional<Tensor>& shortcut, const std::vector<int>& stride,
                        const std::vector<int>& padding, bool) {
  const Conv shape = conv(x.shape(), weight.shape(), stride, padding);
  Tensor out = empty({shape.batch, shape.outputs + shape.carried, shape.output.height, shape.output.width});
  if (shortcut) expect("channels that pass a convolution with a shortcut", shape.carried, 0);
  conv_forward(shape, x.data<float>(), weight.data<float>(), values("bias", bias, shape.outputs),
               values("shortcut", shortcut, out.numel()), out.data<float>());
  return {out};
}

Tensors conv_backward_op(const Tensor& x, const Tensor& weight, const paddle::optional<Tensor>& bias,
                         const paddle::optional<Tensor>& shortcut, const Tensor& grad_out,
                         const std::vector<int>& stride, const std::vector<int>& padding, bool wants_grad_x) {
  const Conv shape = conv(x.shape(), weight.shape(), stride, padding);
  // Paddle wants a tensor for a gradient that it drops.
  Tensor grad_x = empty(wants_grad_x ? x.shape() : Shape{1}), grad_weight = empty(weight.shape());
  Tensor grad_bias = bias ? empty(bias->shape()) : Tensor();
  conv_backward(shape, x.data<float>(), weight.data<float>(),
                values("gradient", grad_out, shape.batch * shape.output_image()),
                wants_grad_x ? grad_x.data<float>() : nullptr, grad_weight.data<float>(),
                bias ? grad_bias.data<float>() : nullptr);
  return {grad_x, grad_weight, grad_bias, shortcut ? copy(grad_out) : Tensor()};
}

// The running statistics are changed in place, behind the back of the graph of gradients: an output of that name would
// be a part of it, and have one.
float* in_place(const char* what, const Tensor& tensor, int64_t fits) {
  return const_cast<float*>(values(what, tensor, fits));
}

Tensors norm_act(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                 const Tensor& running_variance, float epsilon, float momentum, int activation) {
  const Planes at = planes(x);
  Tensor out = empty(x.shape()), mean = empty(gamma.shape()), inverse_std = empty(gamma.shape());
  norm_act_forward(at, activation_of(activation), x.data<float>(), values("gamma", gamma, at.channels),
                   values("beta", beta, at.channels), epsilon, momentum,
                   in_place("running mean", running_mean, at.channels),
                   in_place("running variance", running_variance, at.channels), mean.data<float>(),
                   inverse_std.data<float>(), out.data<float>());
  return {out, mean, inverse_std};
}

Tensors norm_act_grad(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                      const Tensor& inverse_std, const Tensor& grad_out, float, float, int activation) {
  Tensor grad_x = empty(x.shape()), grad_gamma = empty(gamma.shape()), grad_beta = empty(gamma.shape());
  norm_act_backward(planes(x), activation_of(activation), x.data<float>(), gamma.data<float>(), beta.data<float>(),
                    mean.data<float>(), inverse_std.data<float>(), values("gradient", grad_out, x.numel()),
                    grad_x.data<float>(), grad_gamma.data<float>(), grad_beta.data<float>());
  return {grad_x, grad_gamma, grad_beta};
}

std::vector<Shape> norm_act_shape(const Shape& x, const Shape& gamma, const Shape&, const Shape&, const Shape&, float,
                                  float, int) {
  return {x, gamma, gamma};
}

Tensors layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, float epsilon) {
  const Planes at = planes(x);
  Tensor out = empty(x.shape());
  layer_norm_forward(at, x.data<float>(), values("gamma", gamma, at.channels), values("beta", beta, at.channels),
                     epsilon, out.data<float>());
  return {out};
}

Tensors layer_norm_grad(const Tensor& x, const Tensor& gamma, const Tensor& grad_out, float epsilon) {
  Tensor grad_x = empty(x.shape()), grad_gamma = empty(gamma.shape()), grad_beta = empty(gamma.shape());
  layer_norm_backward(planes(x), x.data<float>(), gamma.data<float>(), epsilon,
                      values("gradient", grad_out, x.numel()), grad_x.data<float>(), grad_gamma.data<float>(),
                      grad_beta.data<float>());
  return {grad_x, grad_gamma, grad_beta};
}

std::vector<Shape> layer_norm_shape(const Shape& x, const Shape&, const Shape&, float) { return {x}; }

Tensors layer_scale(const Tensor& branch, const Tensor& gamma, const paddle::optional<Tensor>& keep,
                    const Tensor& shortcut) {
  const Planes at = planes(branch);
  Tensor out = empty(branch.shape());
  layer_scale_forward(at, branch.data<float>(), values("gamma", gamma, at.channels), values("keep", keep, at.batch),
                      values("shortcut", shortcut, branch.numel()), out.data<float>());
  return {out};
}

Tensors layer_scale_grad(const Tensor& branch, const Tensor& gamma, const paddle::optional<Tensor>& keep,
                         const Tensor& grad_out) {
  Tensor grad_branch = empty(branch.shape()), grad_gamma = empty(gamma.shape());
  const Planes at = planes(branch);
  layer_scale_backward(at, branch.data<float>(), gamma.data<float>(), values("keep", keep, at.batch),
                       values("gradient", grad_out, branch.numel()), grad_branch.data<float>(),
                       grad_gamma.data<float>());
  return {grad_branch, grad_gamma, copy(grad_out)};
}

std::vector<Shape> layer_scale_shape(const Shape& branch, const Shape&, const paddle::optional<Shape>&,
                                     const Shape&) {
  return {branch};
}

Bottleneck bottleneck_of(const Tensor& x, const Tensor& weight1) {
  expect("axes of the first weight", weight1.shape().size(), 2);
  return {planes(x), weight1.shape()[1]};
}

Tensors bottleneck(const Tensor& x, const Tensor& weight1, const Tensor& bias1, const Tensor& weight2,
                   const Tensor& bias2, const Tensor& gamma, const paddle::optional<Tensor>& keep,
                   const Tensor& shortcut, int activation) {
  const Bottleneck at = bottleneck_of(x, weight1);
  const int64_t channels = at.maps.channels;
  Tensor out = empty(x.shape());
  bottleneck_forward(at, activation_of(activation), x.data<float>(),
                     values("first weight", weight1, channels * at.hidden), values("first bias", bias1, at.hidden),
                     values("second weight", weight2, at.hidden * channels), values("second bias", bias2, channels),
                     values("gamma", gamma, channels), values("keep", keep, at.maps.batch),
                     values("shortcut", shortcut, x.numel()), out.data<float>());
  return {out};
}

Tensors bottleneck_grad(const Tensor& x, const Tensor& weight1, const Tensor& bias1, const Tensor& weight2,
                        const Tensor& bias2, const Tensor& gamma, const paddle::optional<Tensor>& keep,
                        const Tensor& grad_out, int activation) {
  Tensors grads;
  for (const Tensor* input : {&x, &weight1, &bias1, &weight2, &bias2, &gamma}) grads.push_back(empty(input->shape()));
  bottleneck_backward(bottleneck_of(x, weight1), activation_of(activation), x.data<float>(), weight1.data<float>(),
                      bias1.data<float>(), weight2.data<float>(), bias2.data<float>(), gamma.data<float>(),
                      values("keep", keep, x.shape()[0]), values("gradient", grad_out, x.numel()),
                      grads[0].data<float>(), grads[1].data<float>(), grads[2].data<float>(), grads[3].data<float>(),
                      grads[4].data<float>(), grads[5].data<float>());
  grads.push_back(copy(grad_out));
  return grads;
}

std::vector<Shape> bottleneck_shape(const Shape& x, const Shape&, const Shape&, const Shape&, const Shape&,
                                    const Shape&, const paddle::optional<Shape>&, const Shape&, int) {
  return {x};
}

Attention attention_of(const Tensor& qkv, const Tensor& temperature) {
  const Planes at = planes(qkv);
  const int64_t heads = temperature.numel(), width = at.channels / (3 * heads);
  expect("channels of Q, K and V", at.channels, 3 * heads * width);
  return {at.batch, heads, width, at.positions};
}

std::vector<Shape> attention_shape(const Shape& qkv, const Shape&) { return {{qkv[0], qkv[1] / 3, qkv[2], qkv[3]}}; }

Tensors attention(const Tensor& qkv, const Tensor& temperature) {
  const Attention at = attention_of(qkv, temperature);
  Tensor out = empty(attention_shape(qkv.shape(), temperature.shape())[0]);
  attention_forward(at, qkv.data<float>(), temperature.data<float>(), out.data<float>());
  return {out};
}

Tensors attention_grad(const Tensor& qkv, const Tensor& temperature, const Tensor& grad_out) {
  Tensor grad_qkv = empty(qkv.shape()), grad_temperature = empty(temperature.shape());
  attention_backward(attention_of(qkv, temperature), qkv.data<float>(), temperature.data<float>(),
                     values("gradient", grad_out, qkv.numel() / 3), grad_qkv.data<float>(),
                     grad_temperature.data<float>());
  return {grad_qkv, grad_temperature};
}

ShiftMax shift_max_layer(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze_bias,
                         float range) {
  const Planes at = planes(x);
  const int64_t fusions = lowest.numel() > 2 * at.channels ? 2 : 1;
  const float* offsets = values("lowest coefficients", lowest, 2 * fusions * at.channels);
  expect("channels of the shift", shift.numel(), at.channels);
  const int64_t* from = shift.data<int64_t>();
  PD_CHECK(std::all_of(from, from + at.channels, [&at](int64_t c) { return c >= 0 && c < at.channels; }),
           "the shift names a channel that is not there");
  return {at.batch, at.channels, at.positions, squeeze_bias.numel(), fusions, from, range, offsets};
}

// The numbers of values of the layers' weights follow from that of the hidden units.
Excitation excitation(const ShiftMax& layer, const Tensor& squeeze, const Tensor& squeeze_bias, const Tensor& excite,
                      const Tensor& excite_bias) {
  const int64_t gates = 2 * layer.fusions * layer.channels;
  return {values("first weight", squeeze, layer.channels * layer.hidden), squeeze_bias.data<float>(),
          values("second weight", excite, layer.hidden * gates), values("second bias", excite_bias, gates)};
}

Tensors shift_max(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze,
                  const Tensor& squeeze_bias, const Tensor& excite, const Tensor& excite_bias, float range) {
  const ShiftMax layer = shift_max_layer(x, shift, lowest, squeeze_bias, range);
  Tensor out = empty(x.shape()), means = empty({layer.batch, layer.channels});
  Tensor hidden = empty({layer.batch, layer.hidden}), gates = empty({layer.batch, lowest.numel()});
  shift_max_forward(layer, x.data<float>(), excitation(layer, squeeze, squeeze_bias, excite, excite_bias),
                    means.data<float>(), hidden.data<float>(), gates.data<float>(), out.data<float>());
  return {out, means, hidden, gates};
}

Tensors shift_max_grad(const Tensor& x, const Tensor& shift, const Tensor& lowest, const Tensor& squeeze,
                       const Tensor& squeeze_bias, const Tensor& excite, const Tensor& excite_bias,
                       const Tensor& means, const Tensor& hidden, const Tensor& gates, const Tensor& grad_out,
                       float range) {
  Tensor grad_x = empty(x.shape()), grad_squeeze = empty(squeeze.shape()), grad_excite = empty(excite.shape());
  Tensor grad_squeeze_bias = empty(squeeze_bias.shape()), grad_excite_bias = empty(excite_bias.shape());
  const ShiftMax layer = shift_max_layer(x, shift, lowest, squeeze_bias, range);
  shift_max_backward(layer, x.data<float>(), excitation(layer, squeeze, squeeze_bias, excite, excite_bias),
                     means.data<float>(), hidden.data<float>(), gates.data<float>(),
                     values("gradient", grad_out, x.numel()), grad_x.data<float>(),
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

PD_BUILD_OP(ppcls_depthwise_conv)
    .Inputs({"X", "Weight", "Bias"})
    .Outputs({"Out"})
    .Attrs({"stride: std::vector<int>", "padding: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(depthwise_conv))
    .SetInferShapeFn(PD_INFER_SHAPE(depthwise_conv_shape));
PD_BUILD_GRAD_OP(ppcls_depthwise_conv)
    .Inputs({"X", "Weight", "Bias", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weight"), paddle::Grad("Bias")})
    .Attrs({"stride: std::vector<int>", "padding: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(depthwise_conv_grad));

PD_BUILD_OP(ppcls_conv)
    .Inputs({"X", "Weight", paddle::Optional("Bias"), paddle::Optional("Shortcut")})
    .Outputs({"Out"})
    .Attrs({"stride: std::vector<int>", "padding: std::vector<int>", "wants_grad_x: bool"})
    .SetKernelFn(PD_KERNEL(conv_forward_op))
    .SetInferShapeFn(PD_INFER_SHAPE(conv_shape));
PD_BUILD_GRAD_OP(ppcls_conv)
    .Inputs({"X", "Weight", paddle::Optional("Bias"), paddle::Optional("Shortcut"), paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weight"), paddle::Grad(paddle::Optional("Bias")),
              paddle::Grad(paddle::Optional("Shortcut"))})
    .Attrs({"stride: std::vector<int>", "padding: std::vector<int>", "wants_grad_x: bool"})
    .SetKernelFn(PD_KERNEL(conv_backward_op));

PD_BUILD_OP(ppcls_norm_act)
    .Inputs({"X", "Gamma", "Beta", "RunningMean", "RunningVariance"})
    .Outputs({"Out", "Mean", "InverseStd"})
    .Attrs({"epsilon: float", "momentum: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm_act))
    .SetInferShapeFn(PD_INFER_SHAPE(norm_act_shape));
PD_BUILD_GRAD_OP(ppcls_norm_act)
    .Inputs({"X", "Gamma", "Beta", "Mean", "InverseStd", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"epsilon: float", "momentum: float", "activation: int"})
    .SetKernelFn(PD_KERNEL(norm_act_grad));

PD_BUILD_OP(ppcls_layer_norm)
    .Inputs({"X", "Gamma", "Beta"})
    .Outputs({"Out"})
    .Attrs({"epsilon: float"})
    .SetKernelFn(PD_KERNEL(layer_norm))
    .SetInferShapeFn(PD_INFER_SHAPE(layer_norm_shape));
PD_BUILD_GRAD_OP(ppcls_layer_norm)
    .Inputs({"X", "Gamma", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"epsilon: float"})
    .SetKernelFn(PD_KERNEL(layer_norm_grad));

PD_BUILD_OP(ppcls_layer_scale)
    .Inputs({"Branch", "Gamma", paddle::Optional("Keep"), "Shortcut"})
    .Outputs({"Out"})
    .SetKernelFn(PD_KERNEL(layer_scale))
    .SetInferShapeFn(PD_INFER_SHAPE(layer_scale_shape));
PD_BUILD_GRAD_OP(ppcls_layer_scale)
    .Inputs({"Branch", "Gamma", paddle::Optional("Keep"), paddle::Grad("Out")})
    .Outputs({paddle::Grad("Branch"), paddle::Grad("Gamma"), paddle::Grad("Shortcut")})
    .SetKernelFn(PD_KERNEL(layer_scale_grad));

PD_BUILD_OP(ppcls_bottleneck)
    .Inputs({"X", "Weight1", "Bias1", "Weight2", "Bias2", "Gamma", paddle::Optional("Keep"), "Shortcut"})
    .Outputs({"Out"})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(bottleneck))
    .SetInferShapeFn(PD_INFER_SHAPE(bottleneck_shape));
PD_BUILD_GRAD_OP(ppcls_bottleneck)
    .Inputs({"X", "Weight1", "Bias1", "Weight2", "Bias2", "Gamma", paddle::Optional("Keep"), paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weight1"), paddle::Grad("Bias1"), paddle::Grad("Weight2"),
              paddle::Grad("Bias2"), paddle::Grad("Gamma"), paddle::Grad("Shortcut")})
    .Attrs({"activation: int"})
    .SetKernelFn(PD_KERNEL(bottleneck_grad));

PD_BUILD_OP(ppcls_attention)
    .Inputs({"QKV", "Temperature"})
    .Outputs({"Out"})
    .SetKernelFn(PD_KERNEL(attention))
    .SetInferShapeFn(PD_INFER_SHAPE(attention_shape));
PD_BUILD_GRAD_OP(ppcls_attention)
    .Inputs({"QKV", "Temperature", paddle::Grad("Out")})
    .Outputs({paddle::Grad("QKV"), paddle::Grad("Temperature")})
    .SetKernelFn(PD_KERNEL(attention_grad));

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
