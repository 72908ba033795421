"""Batch norms folded into the convolution or linear layer before them, or into the convolution after them."""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np
from paddle import Tensor, nn

_NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


def fold_batch_norms(model: nn.Layer) -> None:
    """Make every conv + batch norm and every linear + batch norm pair of `model` one layer.

    A pair is a Conv2D (of any groups and kernel) or a Linear directly followed, in the order in which their
    parent defines its children, by a batch norm of as many channels; the batch norm becomes an Identity. In
    eval mode

        BN(W * x + b) = (s W) * x + (s (b - mean) + beta),   s = gamma / sqrt(variance + eps)

    per output channel (Ioffe and Szegedy, arXiv 1502.03167, algorithm 2). The order of definition is a
    convention, not a proof: `export_model` compares the outputs afterwards.
    """
    for parent, layer, name, norm in _neighbours(model):
        if _is_pair(layer, norm):
            scale, offset = affine(norm)
            bias = offset if layer.bias is None else array(layer.bias) * scale + offset
            factor = scale[:, None, None, None] if isinstance(layer, nn.Conv2D) else scale
            set_weights(layer, array(layer.weight) * factor, bias)
            parent.add_sublayer(name, nn.Identity())


def fold_batch_norms_before(model: nn.Layer) -> None:
    """Make every batch norm + conv pair in an nn.Sequential of `model`, whose order is that of execution, one layer.

    BN(x) = s x + t goes into the weights of each input channel and the bias: W * (s x + t) = (W s) * x + sum(W t).
    At a border padded with zeros the sum has fewer terms, so that a convolution that pads so stays as it is.
    """
    for parent, norm, _, conv in _neighbours(model):
        if isinstance(parent, nn.Sequential) and _is_pair_before(norm, conv):
            scale, offset = affine(norm)
            weight = array(conv.weight)
            out_channels, per_group = weight.shape[:2]
            group = np.arange(out_channels) // (out_channels // conv._groups)
            inputs = group[:, None] * per_group + np.arange(per_group)  # of each output channel
            bias = (weight.sum(axis=(2, 3)) * offset[inputs]).sum(axis=1)
            if conv.bias is not None:
                bias = bias + array(conv.bias)
            set_weights(conv, weight * scale[inputs][:, :, None, None], bias)
            before = next(key for key, layer in parent.named_children() if layer is norm)
            parent.add_sublayer(before, nn.Identity())


def _neighbours(model: nn.Layer) -> Iterator[tuple[nn.Layer, nn.Layer, str, nn.Layer]]:
    """Yield (parent, child, name of the next child, next child)."""
    for parent in model.sublayers(include_self=True):
        children = list(parent.named_children())
        for (_, child), (name, following) in zip(children, children[1:]):
            yield parent, child, name, following


def _is_pair(layer: nn.Layer, norm: nn.Layer) -> bool:
    if isinstance(layer, nn.Conv2D):
        return isinstance(norm, _NORMS) and layer.weight.shape[0] == norm._mean.shape[0]
    return (
        isinstance(layer, nn.Linear)
        and isinstance(norm, nn.BatchNorm1D)
        and layer.weight.shape[1] == norm._mean.shape[0]
    )


def _is_pair_before(norm: nn.Layer, conv: nn.Layer) -> bool:
    if not (isinstance(norm, _NORMS) and isinstance(conv, nn.Conv2D)):
        return False
    zeros = conv._padding_mode == "zeros" and (isinstance(conv._padding, str) or np.any(conv._padding))
    return not zeros and conv._in_channels == norm._mean.shape[0]


def affine(norm: nn.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and offset, float64 (C,), of a batch norm in eval mode."""
    scale = 1 / np.sqrt(array(norm._variance) + norm._epsilon)
    if norm.weight is not None:
        scale = scale * array(norm.weight)
    offset = -array(norm._mean) * scale
    return scale, offset if norm.bias is None else offset + array(norm.bias)


def set_weights(layer: nn.Layer, weight: np.ndarray, bias: np.ndarray) -> nn.Layer:
    """Return `layer` with the arrays `weight` and `bias`; a bias is made if it had none."""
    if layer.bias is None:
        layer.bias = layer.create_parameter(list(bias.shape), is_bias=True)
    layer.weight.set_value(weight.astype("float32"))
    layer.bias.set_value(bias.astype("float32"))
    return layer


def convolution(
    weight: np.ndarray,
    bias: np.ndarray,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> nn.Conv2D:
    """Return the convolution with the arrays `weight` (out, in / groups, height, width) and `bias` (out,)."""
    out, inner, *size = weight.shape
    layer = nn.Conv2D(inner * groups, out, size, stride=stride, padding=padding, groups=groups)
    return set_weights(layer, weight, bias)


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as float64: folding must not cost accuracy, even of a tiny variance."""
    return tensor.numpy().astype("float64")
