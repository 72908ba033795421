// The kernels: float32, contiguous (N, C, H, W). None depends on Paddle.
//
// Results do not depend on the number of threads: the work is cut into tasks by the shape alone, a task sums in
// a fixed order, and sums over tasks are taken in the order of the tasks. A dynamic schedule is a monotonic one: the
// OpenMP that comes with Paddle does not have the other one, and a second OpenMP would be loaded for it.
#pragma once

#include <cstdint>

struct Pair {
  int64_t height, width;
};

// A depthwise convolution: output channel o reads the input channel o / multiplier.
struct Depthwise {
  int64_t batch, channels, multiplier;
  Pair input, output, kernel, stride, padding;
};

void depthwise_forward(const Depthwise& conv, const float* x, const float* weight, const float* bias,
                       float* out);
void depthwise_backward(const Depthwise& conv, const float* x, const float* weight, const float* grad_out,
                        float* grad_x, float* grad_weight, float* grad_bias);

// A convolution without groups. `weight` is (outputs, inputs, height, width) or, of a linear layer, `input_major`:
// (inputs, height, width, outputs).
struct Conv {
  int64_t batch, inputs, outputs;
  Pair input, output, kernel, stride, padding;
  bool input_major;
  int64_t carried;  // channels of input and output, of equal maps, after the others: they are copied

  int64_t input_image() const { return (inputs + carried) * input.height * input.width; }
  int64_t output_image() const { return (outputs + carried) * output.height * output.width; }
};

// `bias` and `grad_bias` may be null, and so may `grad_x`, which is not computed then, and `shortcut`, which is added to
// the output; the gradient of it is grad_out.
void conv_forward(const Conv& conv, const float* x, const float* weight, const float* bias, const float* shortcut,
                  float* out);
void conv_backward(const Conv& conv, const float* x, const float* weight, const float* grad_out, float* grad_x,
                   float* grad_weight, float* grad_bias);

// In training: the activation of the batch norm of x, over `batch` and `positions` = H W for each channel.
struct Planes {
  int64_t batch, channels, positions;
};

enum class Activation { identity, relu, relu6, hardswish, gelu };

// `mean` is the batch's, and so is the biased variance; running = running * momentum + the batch's * (1 - momentum).
void norm_act_forward(const Planes& at, Activation activation, const float* x, const float* gamma,
                      const float* beta, float epsilon, float momentum, float* running_mean, float* running_variance,
                      float* mean, float* inverse_std, float* out);
void norm_act_backward(const Planes& at, Activation activation, const float* x, const float* gamma,
                       const float* beta, const float* mean, const float* inverse_std, const float* grad_out,
                       float* grad_x, float* grad_gamma, float* grad_beta);

// Layer norm over the channels of x, at each position by itself.
void layer_norm_forward(const Planes& at, const float* x, const float* gamma, const float* beta, float epsilon,
                        float* out);
void layer_norm_backward(const Planes& at, const float* x, const float* gamma, float epsilon, const float* grad_out,
                         float* grad_x, float* grad_gamma, float* grad_beta);

// out = shortcut + keep gamma branch, with one gamma a channel and one keep an image; the gradient of the shortcut is
// grad_out. Here and below `keep` may be null and is 1 then.
void layer_scale_forward(const Planes& at, const float* branch, const float* gamma, const float* keep,
                         const float* shortcut, float* out);
void layer_scale_backward(const Planes& at, const float* branch, const float* gamma, const float* keep,
                          const float* grad_out, float* grad_branch, float* grad_gamma);

// out = shortcut + keep gamma (W2' act(W1' x + b1) + b2) at each position: x, shortcut and out have the channels of
// `maps`, weight1 is (channels, hidden), weight2 (hidden, channels).
struct Bottleneck {
  Planes maps;
  int64_t hidden;
};

void bottleneck_forward(const Bottleneck& at, Activation activation, const float* x, const float* weight1,
                        const float* bias1, const float* weight2, const float* bias2, const float* gamma,
                        const float* keep, const float* shortcut, float* out);
void bottleneck_backward(const Bottleneck& at, Activation activation, const float* x, const float* weight1,
                         const float* bias1, const float* weight2, const float* bias2, const float* gamma,
                         const float* keep, const float* grad_out, float* grad_x, float* grad_weight1,
                         float* grad_bias1, float* grad_weight2, float* grad_bias2, float* grad_gamma);

// softmax(t Q K') V of each head, rows of Q and K at unit length; qkv is (N, 3 heads width, P) in the order Q, K, V,
// out (N, heads width, P), temperature one t a head.
struct Attention {
  int64_t batch, heads, width, positions;
};

void attention_forward(const Attention& at, const float* qkv, const float* temperature, float* out);
void attention_backward(const Attention& at, const float* qkv, const float* temperature, const float* grad_out,
                        float* grad_qkv, float* grad_temperature);

// Dynamic Shift-Max of x (batch, channels, positions): the largest of 1 or 2 `fusions` a x[c] + b x[shift[c]], where
// `shift` is a permutation. The coefficients are gates * range + lowest, (2 fusions, channels).
struct ShiftMax {
  int64_t batch, channels, positions, hidden, fusions;
  const int64_t* shift;
  float range;
  const float* lowest;
};

// Weights (inputs, outputs) and biases of the layers that make the gates: squeeze (channels, hidden) and ReLU, then
// excite (hidden, 2 fusions channels) and hard sigmoid.
struct Excitation {
  const float *squeeze, *squeeze_bias, *excite, *excite_bias;
};
struct ExcitationGradient {
  float *squeeze, *squeeze_bias, *excite, *excite_bias;
};

// Means (batch, channels), hidden units (batch, hidden) and gates (batch, 2 fusions channels) are kept for the gradient.
void shift_max_forward(const ShiftMax& layer, const float* x, const Excitation& excitation, float* means,
                       float* hidden, float* gates, float* out);
void shift_max_backward(const ShiftMax& layer, const float* x, const Excitation& excitation, const float* means,
                        const float* hidden, const float* gates, const float* grad_out, float* grad_x,
                        const ExcitationGradient& grads);
