"""Operators for training on CPU, where Paddle's leave most of the processor idle.

Depthwise and pointwise convolution, and batch norm with its activation, each forward and backward, as custom
operators of Paddle. They are off until `enable()`, and then serve what `serves` says: float32 tensors on CPU in
dynamic graph. Everything else, exported files among it, is made of Paddle's own operators.
"""

from __future__ import annotations

from typing import Any, Sequence

import paddle
from paddle import Tensor, nn
from paddle.base import core

from . import build
from .process import keep_freed_memory, use_threads

# In the order of kernels.h's Activation.
_ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
# A vector of the widest processors, which the kernels want in a plane.
_LEAST_POSITIONS = 16

_enabled = False
_threads_as_found: int | None = None


def enable() -> int:
    """Use the operators from now on, with all physical cores unless OMP_NUM_THREADS says otherwise.

    Builds them on the first call of all; freed memory stays with the process from now on.

    Returns:
        The number of threads.

    Raises:
        BuildError: they cannot be built or loaded here.
    """
    global _enabled, _threads_as_found
    library = build.load()
    if _threads_as_found is None:
        _threads_as_found = library.omp_get_max_threads()
    keep_freed_memory()
    _enabled = True
    return use_threads(library)


def disable() -> None:
    """Use Paddle's own operators, and as many threads as before `enable()`, from now on."""
    global _enabled
    if _enabled:
        build.load().omp_set_num_threads(_threads_as_found)
    _enabled = False


def serves(x: Tensor) -> bool:
    """Return whether the operators take `x`, a tensor (N, C, H, W)."""
    return (
        _enabled
        and paddle.in_dynamic_mode()
        and x.dtype == paddle.float32
        and x.place.is_cpu_place()
        and x.shape[2] * x.shape[3] >= _LEAST_POSITIONS
    )


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Convolve each channel by itself; (N, C, H, W) to (N, M C, H', W').

    Args:
        weight: (M C, 1, height, width); output channel o reads the input channel o // M.
        bias: (M C), or None.
        stride, padding: (height, width); both ends are padded.
    """
    if bias is None:
        bias = paddle.zeros([weight.shape[0]])
    return _run("ppcls_depthwise_conv", x, weight, bias, list(stride), list(padding))[0]


def pointwise_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve by `weight` (O, C, 1, 1) at stride 1; (N, C, H, W) to (N, O, H, W)."""
    return _run("ppcls_pointwise_conv", x, weight)[0]


def norm_act(norm: nn.Layer, act: nn.Layer, x: Tensor) -> Tensor:
    """Return `act(norm(x))`, by one operator if there is one.

    Args:
        norm: a layer; the operator is for an nn.BatchNorm2D in training mode.
        act: a layer; the operator knows nn.Identity and those that `models.layers.activation` makes.
        x: (N, C, H, W).
    """
    if not (
        type(norm) is nn.BatchNorm2D
        and norm.training
        and not norm._use_global_stats
        and norm.weight is not None
        and norm.bias is not None
        and type(act) in _ACTIVATIONS
        and not getattr(act, "_approximate", False)
        and serves(x)
    ):
        return act(norm(x))
    activation = _ACTIVATIONS.index(type(act))
    out, mean, variance, _ = _run("ppcls_norm_act", x, norm.weight, norm.bias, norm._epsilon, activation)
    with paddle.no_grad():
        for running, batch in ((norm._mean, mean), (norm._variance, variance)):
            running.scale_(norm._momentum)
            running.add_(batch * (1 - norm._momentum))
    return out


def _run(name: str, *arguments: Any) -> list[Tensor]:
    return core.eager._run_custom_op(name, *arguments)
