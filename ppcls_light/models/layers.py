"""Layers and initialisers shared by the network families: Conv2D, DropPath, PConv."""

from __future__ import annotations

import math
from typing import Literal, Optional, Sequence, Tuple

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import Normal

from ..config.types import PositiveInt
from ..errors import ConfigError
from ..ops import training as cpu_ops

PerStage = Tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]

_ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, "gelu": nn.GELU}


def activation(name: str) -> nn.Layer:
    """Return the activation layer called `name` in any case: relu, relu6, hardswish, gelu (the exact one)."""
    try:
        return _ACTIVATIONS[name.lower()]()
    except KeyError:
        raise ConfigError(f"unknown activation '{name}'; known: {', '.join(_ACTIVATIONS)}") from None


def make_divisible(width: float, divisor: int = 8) -> int:
    """Round `width` to a multiple of `divisor`, at least `divisor` and never more than 10 % down.

    Source: MobileNetV2's reference code (arXiv 1801.04381), used by every scaled network since.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def initialise_normal(model: nn.Layer, std: float = 0.02) -> None:
    """Draw the weights of all convolutions and linear layers of `model` from a normal.

    torch's and timm's `trunc_normal_`, which the authors of FasterNet and EdgeNeXt call, cuts at -2 and 2, that is
    at 100 `std`: not at all. Paddle's TruncatedNormal does so since 3.0 and cut at 2 `std` before.
    """
    normal = Normal(std=std)
    for layer in model.sublayers():
        if isinstance(layer, (nn.Conv2D, nn.Linear)):
            normal(layer.weight)


class Conv2D(nn.Conv2D):
    """nn.Conv2D that uses the project's operators for CPU (`ops.training`) where one serves.

    These are convolution without groups and depthwise convolution, neither of them dilated. A `shortcut` of the
    output's shape is added to it.
    """

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        padding = (self._padding,) * 2 if isinstance(self._padding, int) else self._padding
        ordinary = isinstance(padding, tuple) and self._padding_mode == "zeros" and self._dilation == [1, 1]
        served = ordinary and self._data_format == "NCHW" and cpu_ops.serves(x) and self._fits(x, padding)
        if served and self._groups == 1 and (shortcut is None or shortcut.dtype == x.dtype):
            return cpu_ops.conv(x, self.weight, self.bias, self._stride, padding, shortcut)
        if served and self._groups == self._in_channels:
            out = cpu_ops.depthwise_conv(x, self.weight, self.bias, self._stride, padding)
        else:
            out = nn.Conv2D.forward(self, x)
        return out if shortcut is None else shortcut + out

    def _fits(self, x: Tensor, padding: Sequence[int]) -> bool:
        """Return whether `x` is an input that Paddle would take as well: it has the messages for another."""
        _, channels, *size = x.shape
        room = all(side + 2 * pad >= kernel for side, pad, kernel in zip(size, padding, self._kernel_size))
        return room and channels == self._in_channels and self.weight.dtype == x.dtype


class DropPath(nn.Layer):
    """Stochastic depth: in training, zero the whole branch of a sample with probability `rate`.

    The branches that stay are divided by 1 - rate, so that evaluation needs no scaling. Input and output
    (N, ...). Source: Huang et al., arXiv 1603.09382, in its per-sample form.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        factors = self.factors(x)
        return x if factors is None else x * factors.reshape([-1] + [1] * (x.ndim - 1))

    def factors(self, x: Tensor) -> Optional[Tensor]:
        """Draw the factors (N,) of the branches of `x` (N, ...), each 0 or 1 / (1 - rate); None stands for ones."""
        if not self.training or self.rate == 0.0:
            return None
        keep = 1.0 - self.rate
        return paddle.bernoulli(paddle.full([x.shape[0]], keep, dtype=x.dtype)) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class PConv(nn.Layer):
    """Partial convolution: convolve the first dim / n_div channels and pass the others through untouched.

    A regular convolution on a quarter of the channels costs 1/16 of the multiply-adds and 1/4 of the memory
    traffic of one on all of them. Input and output (N, dim, H, W).

    Source: FasterNet, arXiv 2303.03667, section 3.2.

    Args:
        dim: channels.
        n_div: the convolved share is 1 / n_div.
        kernel_size: odd; stride 1, padded to keep H and W.
        mode: form of the same result: "split_cat" concatenates the two parts, "slicing" writes the convolved part
            into a copy of the input.

    Raises ConfigError: no channel is left to convolve, or an unknown mode.
    """

    def __init__(
        self,
        dim: int,
        n_div: int = 4,
        kernel_size: int = 3,
        mode: Literal["split_cat", "slicing"] = "split_cat",
    ) -> None:
        super().__init__()
        if not 1 <= n_div <= dim:
            raise ConfigError(f"PConv cannot convolve 1/{n_div} of {dim} channels; use n_div from 1 to {dim}")
        if mode not in ("split_cat", "slicing"):
            raise ConfigError(f"unknown PConv mode '{mode}'; use 'split_cat' or 'slicing'")
        self.dim_conv = dim // n_div
        self.dim_untouched = dim - self.dim_conv
        self.mode = mode
        self.partial_conv3 = Conv2D(
            self.dim_conv, self.dim_conv, kernel_size, padding=kernel_size // 2, bias_attr=False
        )

    def forward(self, x: Tensor) -> Tensor:
        conv = self.partial_conv3
        fits = x.shape[1] == self.dim_conv + self.dim_untouched and conv.weight.dtype == x.dtype
        if (
            self.training
            and type(conv) is Conv2D
            and not cpu_ops.has_hooks(conv)
            and fits
            and cpu_ops.serves(x)
        ):
            return cpu_ops.conv(x, conv.weight, None, conv._stride, (conv._padding,) * 2)
        if self.mode == "slicing":
            out = x.clone()
            out[:, : self.dim_conv] = self.partial_conv3(x[:, : self.dim_conv])
            return out
        convolved, untouched = paddle.split(x, [self.dim_conv, self.dim_untouched], axis=1)
        return paddle.concat([self.partial_conv3(convolved), untouched], axis=1)


def mixing_layer(
    kind: str, dim: int, n_div: int = 4, pconv_mode: Literal["split_cat", "slicing"] = "split_cat"
) -> nn.Layer:
    """Return a 3x3 operator of the paper's comparison, (N, dim, H, W) to (N, dim, H, W), without bias.

    "pconv" is `PConv(dim, n_div, mode=pconv_mode)`; "dwconv" convolves each channel by itself; "conv" is a
    regular convolution. "gconv" is a group convolution of n_div^2 groups, 16 by default, which costs the
    multiply-adds of PConv; where that many do not divide `dim`, as in the first stage of FasterNet_T0, of
    their greatest common divisor.

    Source: FasterNet, arXiv 2303.03667, table 1.

    Raises ConfigError: an unknown kind, or see `PConv`.
    """
    if kind == "pconv":
        return PConv(dim, n_div, mode=pconv_mode)
    groups = {"dwconv": dim, "gconv": math.gcd(dim, n_div**2), "conv": 1}
    if kind not in groups:
        raise ConfigError(f"unknown spatial mixing '{kind}'; known: pconv, {', '.join(groups)}")
    return Conv2D(dim, dim, 3, padding=1, groups=groups[kind], bias_attr=False)
