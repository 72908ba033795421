"""Encoding of a network as steps for the library in `native`, which runs them without Paddle.

A plan is a header of 64 bytes (native/network.cc), the weights as float32, and integers as int32, all little-endian.
The integers are the number of steps; for each its kind, how many integers of its own follow, and how many floats it
takes of the weights; then those integers. The classes below describe them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence, Tuple

import numpy as np

from .plan_header import PlanError, header

# Outputs that a 1x1 convolution computes at once, kRows in micronet.cc, which has a function for each number
# up to this.
_MOST_ROWS = 4
# A MicroNet has 1 and 2.
_MOST_STRIDE = 16
# Outputs that a linear layer computes at once, kSpan in network.cc.
_SPAN = 64

Encoded = Tuple[Sequence[int], Sequence[np.ndarray]]  # the integers and the floats of a step


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise PlanError(reason)


class Step:
    """One of a plan; `kind` is its number in network.h."""

    kind: int

    def channels(self, count: int) -> int:
        """Return the channels that it makes of `count`; raise PlanError where it does not fit them."""
        return count

    def encode(self) -> Encoded:
        """Return its integers, and its floats in a list of arrays."""
        return [], []


@dataclass(frozen=True, eq=False)
class Factorized(Step):
    """A kx1 convolution and a 1xk one that is depthwise; ReLU6 if `relu6`.

    The depthwise one may have a multiple of its inputs as outputs. Weights are (out, in, height, width), where `in`
    of `column` is a group's.
    """

    kind = 0
    column: np.ndarray
    column_bias: np.ndarray
    row: np.ndarray
    row_bias: np.ndarray
    groups: int
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    relu6: bool

    def channels(self, count: int) -> int:
        """Return the number of output channels; kernels are odd and padded to keep the size, except for the stride."""
        (middles, inputs, height, one), (outputs, *_, width) = self.column.shape, self.row.shape
        _require(self.row.shape == (outputs, 1, 1, width) and one == 1, "kernels that are not kx1 and 1xk")
        kept = (height, width) == tuple(2 * padding + 1 for padding in self.padding)
        _require(
            kept and 1 <= min(self.stride) <= max(self.stride) <= _MOST_STRIDE, "an unknown stride or padding"
        )
        fit = inputs * self.groups == count and middles % self.groups == 0
        _require(fit, f"groups that do not fit {count} channels")
        _require(outputs % middles == 0, "a 1xk convolution that is not depthwise")
        shapes = self.column_bias.shape, self.row_bias.shape
        _require(shapes == ((middles,), (outputs,)), "a bias of another size")
        return outputs

    def encode(self) -> Encoded:
        """Return integers and floats; equal `column` outputs are stored once and shared by their `row` outputs."""
        middles, inputs = len(self.column), self.column.shape[1]
        middle: np.ndarray = np.arange(len(self.row)) * middles // len(self.row)
        first = np.arange(middles) * self.groups // middles * inputs
        outputs_of: dict[Any, list[int]] = {}
        for output, m in enumerate(middle):
            key = (first[m], self.column[m].tobytes(), self.column_bias[m].tobytes())
            outputs_of.setdefault(key, []).append(output)
        count = len(next(iter(outputs_of.values())))
        if any(len(outputs) != count for outputs in outputs_of.values()):
            count, outputs_of = 1, {output: [output] for output in range(len(self.row))}
        sizes = [self.column.shape[2], self.row.shape[3], *self.stride, *self.padding]
        integers, floats = [*sizes, int(self.relu6), len(outputs_of), inputs, count], []
        for outputs in outputs_of.values():
            m = middle[outputs[0]]
            integers += [*range(first[m], first[m] + inputs), *outputs]
            floats += [self.column[m].ravel(), self.column_bias[m : m + 1]]
            for output in outputs:
                floats += [self.row[output].ravel(), self.row_bias[output : output + 1]]
        return integers, floats


@dataclass(frozen=True, eq=False)
class Pointwise(Step):
    """A 1x1 convolution: weight (out, in), bias (out); ReLU6 if `relu6`. Weights of zero cost nothing."""

    kind = 1
    weight: np.ndarray
    bias: np.ndarray
    relu6: bool

    def channels(self, count: int) -> int:
        _require(
            self.weight.shape == (len(self.bias), count),
            f"a 1x1 convolution that does not fit {count} channels",
        )
        return len(self.bias)

    def encode(self) -> Encoded:
        """Return integers and floats; outputs that read the same inputs are grouped into tiles."""
        outputs_of: dict[bytes, list[int]] = {}
        for output, row in enumerate(self.weight):
            outputs_of.setdefault(np.flatnonzero(row).tobytes(), []).append(output)
        tiles = [
            tile
            for outputs in outputs_of.values()
            for tile in np.array_split(outputs, -(-len(outputs) // _MOST_ROWS))
        ]
        integers: list[int] = [len(self.weight), int(self.relu6), len(tiles)]
        floats: list[np.ndarray] = []
        for outputs in tiles:
            inputs = np.flatnonzero(self.weight[outputs[0]])
            integers += [len(outputs), len(inputs), *outputs, *inputs]
            floats += [self.weight[outputs][:, inputs].T.ravel(), self.bias[outputs]]
        return integers, floats


@dataclass(frozen=True, eq=False)
class ShiftMax(Step):
    """Dynamic Shift-Max: the largest of K fusions a x[c] + b x[shift[c]].

    The 2 K coefficients of a channel are clip(excite(relu(squeeze(mean of x))), -2, 2) + centre, with the weights
    `squeeze` (hidden, C) and `excite` (2 K C, hidden).
    """

    kind = 2
    shift: np.ndarray
    squeeze: np.ndarray
    squeeze_bias: np.ndarray
    excite: np.ndarray
    excite_bias: np.ndarray
    centres: Tuple[float, ...]

    def channels(self, count: int) -> int:
        hidden, coefficients = len(self.squeeze), len(self.centres) * count
        shapes = [(hidden, count), (hidden,), (coefficients, hidden), (coefficients,)]
        arrays = (self.squeeze, self.squeeze_bias, self.excite, self.excite_bias)
        _require(
            [array.shape for array in arrays] == shapes, f"coefficients that do not fit {count} channels"
        )
        _require(len(self.centres) in (2, 4), "neither one nor two fusions")
        _require(self.shift.shape == (count,) and self.shift.max() < count, "a shift of other channels")
        return count

    def encode(self) -> Encoded:
        integers = [len(self.squeeze), len(self.centres) // 2, *self.shift]
        floats = [self.squeeze.T.ravel(), self.squeeze_bias, self.excite.T.ravel(), self.excite_bias]
        return integers, [*floats, np.array(self.centres, "float32")]


@dataclass(frozen=True, eq=False)
class Hold(Step):
    """Keep the map for `AddHeld`."""

    kind = 3


@dataclass(frozen=True, eq=False)
class AddHeld(Step):
    """Add the map that was kept."""

    kind = 4


@dataclass(frozen=True, eq=False)
class Pool(Step):
    """Hardswish of the mean over positions, of ReLU6 if `relu6`; the end of the maps."""

    kind = 5
    relu6: bool

    def encode(self) -> Encoded:
        return [int(self.relu6)], []


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """Hardswish of a linear layer with weight (in, out), bias (out)."""

    kind = 6
    weight: np.ndarray
    bias: np.ndarray

    def channels(self, count: int) -> int:
        fit = self.bias.ndim == 1 and self.weight.shape == (count, len(self.bias))
        _require(fit, f"a linear layer that does not fit {count} channels")
        return len(self.bias)

    def encode(self) -> Encoded:
        inputs, outputs = self.weight.shape
        packed = np.zeros((inputs + 1, -(-outputs // _SPAN) * _SPAN), "float32")
        packed[:-1, :outputs], packed[-1, :outputs] = self.weight, self.bias
        return [inputs, outputs], [packed.reshape(inputs + 1, -1, _SPAN).transpose(1, 0, 2).ravel()]


@dataclass(frozen=True, eq=False)
class Softmax(Step):
    """Probabilities of the logits of one class per image; last of all, if at all."""

    kind = 7


@dataclass(frozen=True, eq=False)
class Sigmoid(Step):
    """Probabilities of the logits of tags; last of all, if at all."""

    kind = 8


def encode(steps: Sequence[Step], parameters: str = "00" * 32) -> bytes:
    """Return the plan of a network's steps; `parameters` is the SHA-256 of its export's, in hexadecimal digits.

    Raises PlanError: they do not fit an RGB image and each other.
    """
    class_num = _check(steps)
    plan = [len(steps)]
    weights: list[np.ndarray] = []
    for step in steps:
        integers, floats = step.encode()
        plan += [step.kind, len(integers), sum(map(len, floats)), *integers]
        weights += floats
    floats32 = np.concatenate(weights).astype("<f4")
    return (
        header(class_num, len(floats32), len(plan), parameters)
        + floats32.tobytes()
        + np.array(plan, "<i4").tobytes()
    )


def _check(steps: Sequence[Step]) -> int:
    """Return the number of classes; raise PlanError where the steps do not fit."""
    kinds = [step.kind for step in steps]
    pool = kinds.index(Pool.kind) if Pool.kind in kinds else 0
    _require(pool > 0 and kinds[0] == Factorized.kind, "no convolution in front and a pooling behind it")
    _require(max(kinds[:pool]) < Pool.kind, "a linear layer before the pooling")
    ends = kinds[-1] in (Softmax.kind, Sigmoid.kind)
    head = kinds[pool + 1 : -1] if ends else kinds[pool + 1 :]
    _require(set(head) == {Linear.kind}, "something else than linear layers behind the pooling")
    channels, stride, held = 3, (1, 1), []
    for step in steps:
        channels = step.channels(channels)
        if isinstance(step, Factorized):
            stride = stride[0] * step.stride[0], stride[1] * step.stride[1]
        elif isinstance(step, Hold):
            held.append((channels, stride))
        elif isinstance(step, AddHeld):
            _require(bool(held) and held.pop() == (channels, stride), "a shortcut of another size")
        _require(len(held) <= 1, "a shortcut within a shortcut")
    _require(channels > 0, "no classes")
    return channels
