"""Parameters and multiply-adds of a network, layer by layer."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import paddle
from paddle import nn
from paddle.nn.quant.quant_layers import QuantizedConv2D, QuantizedLinear


class LayerProfile(NamedTuple):
    """One layer: its name in the network, its class, its output shape for one image, and its cost."""

    name: str
    kind: str
    output_shape: tuple
    params: int
    multiply_adds: int


class ModelProfile(NamedTuple):
    """All layers that have parameters, in the order they ran, and the totals; str() is a table."""

    rows: list[LayerProfile]
    params: int
    multiply_adds: int

    def __str__(self) -> str:
        table = [("layer", "kind", "output", "params", "multiply-adds")]
        for name, kind, output_shape, params, multiply_adds in (*self.rows, ("total", "", (), *self[1:])):
            shape = "x".join(map(str, output_shape))
            table.append((name, kind, shape, f"{params:,}", f"{multiply_adds:,}"))
        width, kind_width, shape_width, *_ = (max(map(len, column)) for column in zip(*table))
        return "\n".join(
            f"{name:<{width}}  {kind:<{kind_width}}  {shape:<{shape_width}}  {params:>11}  {multiply_adds:>15}"
            for name, kind, shape, params, multiply_adds in table
        )


class Cost(NamedTuple):
    """Parameters and multiply-adds of a network with 1000 classes, at the size of its published result."""

    params: int
    multiply_adds: int


# Of every registered network, so that a list of them builds none; `tools/benchmarks/zoo_table.py` writes it.
COSTS_FILE = Path(__file__).with_name("costs.csv")


def known_costs() -> dict[str, Cost]:
    """Return {network: `Cost`}, as they are written in `COSTS_FILE`."""
    with open(COSTS_FILE, newline="", encoding="utf-8") as file:
        return {row[0]: Cost(*map(int, row[1:])) for row in list(csv.reader(file))[1:]}


def profile(model: nn.Layer, image_shape: Sequence[int] | None = None) -> ModelProfile:
    """Count parameters and multiply-adds of `model`, left as it was, for one image of `image_shape` (C, H, W).

    Multiply-adds are those of convolutions, of linear layers and of the method `own_multiply_adds(output_shape)` of a
    layer that spends some outside its sublayers, as attention does on products of activations. Batch norm, which fuses
    into its convolution, other norms, pooling, activations and biases count nothing. Parameters are the learned ones,
    without batch norm's running statistics and the scales of quantization. The default shape is that of the model's
    attribute, else (3, 224, 224).
    """
    if image_shape is None:
        image_shape = getattr(model, "image_shape", (3, 224, 224))
    rows = []

    def record(name: str) -> Callable[..., None]:
        def hook(layer: nn.Layer, inputs: Any, output: Any) -> None:
            params = _count_params(layer, include_sublayers=False)
            if params:
                shape = tuple(output.shape[1:])
                rows.append(
                    LayerProfile(name, type(layer).__name__, shape, params, _multiply_adds(layer, shape))
                )

        return hook

    hooks = [layer.register_forward_post_hook(record(name)) for name, layer in model.named_sublayers()]
    was_training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, *image_shape]))
    finally:
        for hook in hooks:
            hook.remove()
        if was_training:
            model.train()
    return ModelProfile(rows, _count_params(model), sum(row.multiply_adds for row in rows))


def _count_params(layer: nn.Layer, include_sublayers: bool = True) -> int:
    return sum(
        int(np.prod(parameter.shape))
        for name, parameter in layer.named_parameters(include_sublayers=include_sublayers)
        if not (name.endswith(("_mean", "_variance")) or "_fake_quant" in name)
    )


def _multiply_adds(layer: nn.Layer, output_shape: Sequence[int]) -> int:
    """Return the outputs times the inputs that each of them sums over, or the layer's own number."""
    if isinstance(layer, (nn.Conv2D, QuantizedConv2D)):
        return int(np.prod(output_shape)) * int(np.prod(layer.weight.shape[1:]))
    if isinstance(layer, (nn.Linear, QuantizedLinear)):
        return int(np.prod(output_shape)) * layer.weight.shape[0]
    own = getattr(layer, "own_multiply_adds", None)
    return own(output_shape) if own else 0
