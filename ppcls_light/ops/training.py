"""Custom operators for training on CPU: dense and depthwise convolution, batch norm with activation,
layer norm, Dynamic Shift-Max, and the parts of EdgeNeXt's encoders.

Each has its forward and its backward pass. They are off until `enable()`, and then serve
what `serves` says: float32 tensors on CPU in dynamic graph. Everything
else, exported files among it, is made of Paddle's own operators.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any, Sequence

import paddle
from paddle import Tensor, nn
from paddle.base import core

from ..base.machine import physical_cores
from ..base.threads import openmp_threads
from . import build

# In the order of kernels.h's Activation.
_ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)

# Time that Intel's OpenMP threads look for more work before they sleep. Its default, 200, takes a core from the
# reader's processes; none at all costs more than the wait between two operators.
_SPIN_MILLISECONDS = 1

# Of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

_enabled = False


def enable() -> int:
    """Use the operators from now on, with all physical cores unless OMP_NUM_THREADS says otherwise; return the threads.

    Builds them on the first call of all; freed memory stays with the process from now on.
    Raises BuildError: they cannot be built or loaded here.
    """
    global _enabled
    library = build.load()
    _keep_freed_memory()
    _enabled = True
    return _use_threads(library)


def disable() -> None:
    """Use Paddle's own operators, and as many threads as Paddle's import has set, from now on."""
    global _enabled
    if _enabled:
        build.load().omp_set_num_threads(openmp_threads() or 1)
    _enabled = False


def serves(x: Tensor) -> bool:
    """Return whether the operators take `x`: a tensor (N, C, H, W), and not an empty one."""
    return (
        _enabled
        and paddle.in_dynamic_mode()
        and x.dtype == paddle.float32
        and x.place.is_cpu_place()
        and x.ndim == 4
        and 0 not in x.shape  # Paddle's `size` takes longer than all the others
    )


def serves_instead(x: Tensor, *layers: nn.Layer) -> bool:
    """Return whether an operator takes `x` (N, C, H, W) of any size in place of `layers`, which are not called then.

    They are Paddle's own, not quantized ones that took their place, and nobody has a hook on them.
    """
    own = (nn.BatchNorm2D, nn.LayerNorm, nn.Linear, *_ACTIVATIONS)
    return serves(x) and all(type(layer) in own and not has_hooks(layer) for layer in layers)


def has_hooks(layer: nn.Layer) -> bool:
    """Return whether somebody wants to know when `layer` is called."""
    return bool(layer._forward_pre_hooks or layer._forward_post_hooks)


def depthwise_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Convolve each channel by itself; (N, C, H, W) to (N, M C, H', W').

    `weight` is (M C, 1, height, width): output channel o reads the input channel o // M. `padding` is that of both
    ends.
    """
    if bias is None:
        bias = paddle.zeros([weight.shape[0]])
    return _run("ppcls_depthwise_conv", x, weight, bias, list(stride), list(padding))[0]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    shortcut: Tensor | None = None,
) -> Tensor:
    """Convolve without groups; (N, C, H, W) to (N, O, H', W').

    `weight` is (O, C, height, width), or (C, O) as a linear layer has it, for a convolution of 1x1. `padding` is that
    of both ends. The gradient of `x` is computed only where `x` wants one. Channels of `x` after the C are appended to
    the output as they are, which must have their maps' size (PConv). A `shortcut` (N, O, H', W') is added to the
    output.
    """
    wants_grad_x = not x.stop_gradient
    return _run("ppcls_conv", x, weight, bias, shortcut, list(stride), list(padding), wants_grad_x)[0]


def norm_act(norm: nn.Layer, act: nn.Layer, x: Tensor) -> Tensor:
    """Return `act(norm(x))` of x (N, C, H, W), by one operator if there is one.

    It is for an nn.BatchNorm2D in training mode, and knows nn.Identity and the layers of `models.layers.activation`.
    """
    if not (
        serves(x)  # first: sizes in a static graph are no numbers
        and type(norm) is nn.BatchNorm2D
        and norm.training
        and not norm._use_global_stats
        and norm.weight is not None
        and norm.bias is not None
        and norm.weight.dtype == paddle.float32
        and norm._data_format == "NCHW"
        and x.shape[1] == norm._num_features
        and x.shape != [1, norm._num_features, 1, 1]  # of one value a channel Paddle makes no statistics
        and type(act) in _ACTIVATIONS
        and not getattr(act, "_approximate", False)
    ):
        return act(norm(x))
    activation = _ACTIVATIONS.index(type(act))
    options = norm._epsilon, norm._momentum, activation
    return _run("ppcls_norm_act", x, norm.weight, norm.bias, norm._mean, norm._variance, *options)[0]


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Apply `norm` to the channels of x (N, C, H, W), at each position by itself; returns (N, C, H, W)."""
    return _run("ppcls_layer_norm", x, norm.weight, norm.bias, norm._epsilon)[0]


def layer_scale(branch: Tensor, gamma: Tensor, keep: Tensor | None, shortcut: Tensor) -> Tensor:
    """Return shortcut + keep gamma branch; (N, C, H, W), one gamma a channel, one factor `keep` an image."""
    return _run("ppcls_layer_scale", branch, gamma, keep, shortcut)[0]


def bottleneck(
    x: Tensor, first: nn.Linear, act: nn.Layer, second: nn.Linear, gamma: Tensor, keep: Tensor | None, shortcut: Tensor
) -> Tensor:  # fmt: skip
    """Return shortcut + keep gamma second(act(first(x))), with linear layers on the channels of each position.

    (N, C, H, W), one gamma a channel, one factor `keep` an image.
    """
    parameters = first.weight, first.bias, second.weight, second.bias, gamma
    return _run("ppcls_bottleneck", x, *parameters, keep, shortcut, _ACTIVATIONS.index(type(act)))[0]


def attention(qkv: Tensor, temperature: Tensor) -> Tensor:
    """Return softmax(t Q K') V of each head, rows of Q and K at unit length; (N, 3 C, H, W) to (N, C, H, W).

    `qkv` has the heads of Q before those of K and V; `temperature` (heads, 1, 1) has the t of each.
    """
    return _run("ppcls_attention", qkv, temperature)[0]


def shift_max(x: Tensor, shift: Tensor, lowest: Tensor, span: float, layers: nn.Layer) -> Tensor:
    """Return the Dynamic Shift-Max of x (N, C, H, W), see `models.micronet.DYShiftMax`.

    `shift` (C) is a permutation. The `layers` nn.Linear, nn.ReLU, nn.Linear, nn.Hardsigmoid make gates of the means of
    the planes; gates times `span` plus `lowest` (2 K C) are the coefficients of K = 1 or 2 fusions.
    """
    squeeze, _, excite, _ = layers
    weights = squeeze.weight, squeeze.bias, excite.weight, excite.bias
    return _run("ppcls_shift_max", x, shift, lowest, *weights, span)[0]


def _run(name: str, *arguments: Any) -> list[Tensor]:
    return core.eager._run_custom_op(name, *arguments)


def _use_threads(library: ctypes.CDLL) -> int:
    """Let OpenMP, and so the operators and Paddle's BLAS, use the user's number of threads, else the physical cores.

    Return the threads. Paddle's import leaves one where the user has set none, and each predictor of Paddle Inference
    sets its own number, which is one.
    """
    library.omp_set_num_threads(openmp_threads() or physical_cores())
    if hasattr(library, "kmp_set_blocktime") and "KMP_BLOCKTIME" not in os.environ:
        library.kmp_set_blocktime(_SPIN_MILLISECONDS)
    return library.omp_get_max_threads()


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed instead of giving it back to the system.

    A training step frees and allocates the same large maps again and again; fresh memory comes as zeroed
    pages, one fault for every 4 KiB, which can take longer than the arithmetic. With another C library than
    glibc this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 1 << 26)
