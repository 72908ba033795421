"""Deterministic weights and inputs, so that a parity case needs only key names, shapes and logits."""

import zlib

import numpy as np


def values(name, shape, gain=2.0, linear_in_first=False):
    """Return the float32 array that stands for parameter `name` of `shape`.

    Every array is drawn from RandomState(crc32(name)), scaled by what the name says the parameter is.
    gain: variance gain of convolution and linear weights; stored in each case.
    linear_in_first: 2-D weights are stored (in, out) as Paddle does, not (out, in) as torch does.
    """
    x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        x = np.zeros(shape)
    elif leaf in ("running_var", "_variance"):
        x = 0.5 + 0.5 * np.abs(x)
    elif leaf in ("running_mean", "_mean", "bias"):
        x = 0.1 * x
    elif leaf.startswith("gamma") or leaf == "layer_scale":
        x = 0.5 + 0.1 * x
    elif len(shape) <= 1 or leaf == "temperature":
        x = 1.0 + 0.1 * x
    else:
        fan_in = shape[0] if (linear_in_first and len(shape) == 2) else int(np.prod(shape[1:]))
        x = x * (gain / fan_in) ** 0.5
    return x.astype("float32")


def image(size, batch=2):
    """Return the (batch, 3, size, size) float32 input of every case."""
    return np.random.RandomState(20231118 + size).standard_normal((batch, 3, size, size)).astype("float32")
