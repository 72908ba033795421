"""Batch norms folded into the convolutions before them."""

import numpy as np
from paddle import nn


def fold_batch_norms(model):
    """Make every conv + batch norm pair of `model` one convolution.

    A pair is a Conv2D directly followed, in the order in which their parent defines its children, by a
    batch norm of as many channels; the batch norm becomes an Identity. In eval mode

        BN(W * x + b) = (s W) * x + (s (b - mean) + beta),   s = gamma / sqrt(variance + eps)

    per output channel (Ioffe and Szegedy, arXiv 1502.03167, algorithm 2). The order of definition is a
    convention, not a proof: `export_model` compares the outputs afterwards.
    """
    for parent in model.sublayers(include_self=True):
        children = list(parent.named_children())
        for (_, conv), (name, norm) in zip(children, children[1:]):
            if _is_pair(conv, norm):
                _fuse(conv, norm)
                parent.add_sublayer(name, nn.Identity())


def _is_pair(conv, norm):
    return (
        isinstance(conv, nn.Conv2D)
        and isinstance(norm, (nn.BatchNorm2D, nn.SyncBatchNorm))
        and conv.weight.shape[0] == norm._mean.shape[0]
    )


def _fuse(conv, norm):
    # float64: folding must not cost accuracy where a variance is tiny
    weight, mean, variance = (_array(tensor) for tensor in (conv.weight, norm._mean, norm._variance))
    scale = 1 / np.sqrt(variance + norm._epsilon)
    if norm.weight is not None:
        scale = scale * _array(norm.weight)
    bias = -mean if conv.bias is None else _array(conv.bias) - mean
    bias = bias * scale
    if norm.bias is not None:
        bias = bias + _array(norm.bias)
    if conv.bias is None:
        conv.bias = conv.create_parameter([weight.shape[0]], is_bias=True)
    conv.weight.set_value((weight * scale[:, None, None, None]).astype("float32"))
    conv.bias.set_value(bias.astype("float32"))


def _array(tensor):
    return tensor.numpy().astype("float64")
