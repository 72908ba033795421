"""Quantization-aware training: fake-quantizing layers that simulate int8 rounding.

Every convolution and linear layer rounds its weights and its input to 8 bits and back ("fake quantization",
Jacob et al., arXiv 1712.05877, section 3; gradients pass the rounding unchanged). Weights have one scale per
output channel, inputs one for the tensor, a moving average of the largest absolute value seen in training.
The layers are those of Paddle's `paddle.quantization`; the rest of the network stays in float.

Batch norms stay as they are in training. Folding them in at export changes nothing: a channel's factor
multiplies its weights and their scale alike, and the integers stay the same.
"""

from __future__ import annotations

from typing import Collection, Mapping

import numpy as np
from paddle import ParamAttr, Tensor, maximum, minimum, nn
from paddle.nn.initializer import Constant
from paddle.nn.quant.quant_layers import QuantizedConv2D, QuantizedLinear
from paddle.quantization.imperative.qat import ImperativeQuantizeInputs
from paddle.regularizer import L2Decay

QUANTIZED = (QuantizedConv2D, QuantizedLinear)


class PACT(nn.Layer):
    """Clip to a learned range -alpha to alpha, so that outliers do not stretch the scale; any shape.

    Source: Choi et al., arXiv 1805.06085, section 3, here for both signs, since hardswish and GELU have both.
    """

    def __init__(self) -> None:
        super().__init__()
        attr = ParamAttr(initializer=Constant(20.0), regularizer=L2Decay(2e-5))
        self.alpha = self.create_parameter([1], attr=attr)

    def forward(self, x: Tensor) -> Tensor:
        return maximum(minimum(x, self.alpha), -self.alpha)


def quantize(model: nn.Layer, method: str = "pact", only: Collection[str] | None = None) -> nn.Layer:
    """Put the fake-quantizing layers into `model`, in place, and return it.

    The keys of its state dict stay, and those of the scales come in addition. The scales of the inputs are arbitrary
    before training. `method` is "moving_average_abs_max", or "pact" for learned clipping before it; `only` names the
    convolutions and linear layers to quantize, None: all.
    """
    if only is not None:
        for name, layer in model.named_sublayers():
            layer.skip_quant = name not in only  # Paddle's name for it
    ImperativeQuantizeInputs(
        quantizable_layer_type=["Conv2D", "Linear"],
        weight_quantize_type="channel_wise_abs_max",
        activation_quantize_type="moving_average_abs_max",
        act_preprocess_layer=PACT if method == "pact" else None,
    ).apply(model)
    for layer in model.sublayers():
        if isinstance(layer, QUANTIZED):
            layer.register_forward_post_hook(_keep_scales_constant)
    return model


def is_quantized(model: nn.Layer) -> bool:
    """Return whether `model` has fake-quantized layers."""
    return any(isinstance(layer, QUANTIZED) for layer in model.sublayers())


def input_scales(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return {name of a layer: largest absolute value of its input that int8 holds, an array of one element}.

    `state` is the state dict of a trained quantized network, as arrays. Learned clipping narrows the range.
    """
    end, scales = "._fake_quant_input._scale", {}
    for key, scale in state.items():
        if key.endswith(end):
            name = key[: -len(end)]
            clip = state.get(f"{name}._act_preprocess.alpha")
            scales[name] = scale if clip is None else np.minimum(scale, np.abs(clip))
    return scales


def _keep_scales_constant(layer: nn.Layer, inputs: tuple, output: Tensor) -> None:
    """Mark the scales as constants: by assigning them Paddle's quantizers make them trainable."""
    for quantizer in (layer._fake_quant_input, layer._fake_quant_weight):
        for scale in quantizer.parameters():
            scale.stop_gradient = True
