"""Conversion of an exported MicroNet's graph to the steps of `ops.plan`, for the custom operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Dict, List, NamedTuple, Tuple, Union

import numpy as np

from ..ops.plan import AddHeld, Factorized, Hold, Linear, Pointwise, Pool, ShiftMax, Softmax, Step
from .paddle_graph import GraphError, PaddleGraph

# (operator, patterns of its first inputs), or a name.
_Pattern = Union[str, Tuple[Any, ...]]

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_FUSION = ("add", ("multiply", "a", "x"), ("multiply", "b", "shifted"))
_SECOND_FUSION = ("add", ("multiply", "d", "x"), ("multiply", "e", "shifted"))


def micronet_steps(graph: PaddleGraph) -> List[Step]:
    """Return the steps (`ops.plan`) of a `PaddleGraph` that is a folded MicroNet, with or without a softmax.

    Raises GraphError: it is not. Any of `DAMAGE`: an attribute is missing or no number.
    """
    reader = _Reader(graph)
    probabilities = reader.matches(graph.output(), ("softmax", "logits"))
    if not probabilities:
        return reader.head(graph.output())
    reader.require(graph.output(), axis=-1)
    return [*reader.head(probabilities["logits"]), Softmax()]


class _Convolution(NamedTuple):
    x: int
    weight: np.ndarray
    bias: np.ndarray
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    groups: int


class _Reader:
    """`head` and `maps` return the steps from the graph's input to a value; the others read parts of them."""

    def __init__(self, graph: PaddleGraph) -> None:
        self._graph = graph

    def head(self, value: int) -> List[Step]:
        found = self.matches(value, ("hardswish", ("add", "product", "bias")))
        if found:
            self.require(found["product"], transpose_x=False, transpose_y=False)
            found.update(self.match(found["product"], ("matmul", "x", "weight")))
            weight, bias = map(self._graph.parameter, (found["weight"], found["bias"]))
            return [*self.head(found["x"]), Linear(weight, bias)]
        self.require(value, start_axis=1, stop_axis=3)
        pooled = self._pooled(self.match(value, ("flatten", ("hardswish", "mean")))["mean"])
        clipped = self.matches(pooled, ("relu6", "x"))
        return [*self.maps(clipped["x"] if clipped else pooled), Pool(bool(clipped))]

    def maps(self, value: int, start: int | None = None) -> List[Step]:
        """`start`: a value to begin at in place of the input."""
        if value == start or (start is None and self._graph.maker(value).name == "data"):
            return []
        found = self.matches(value, ("add", _FUSION, ("relu", _SECOND_FUSION))) or self.matches(
            value, _FUSION
        )
        if found:
            return [*self.maps(found["x"], start), self._shift_max(found)]
        clipped = self.matches(value, ("relu6", "x"))
        conv = self.matched_convolution(clipped["x"] if clipped else value)
        if conv:
            return self._convolution(conv, bool(clipped), start)
        both = self.match(value, ("add", "shortcut", "layers"))
        return [
            *self.maps(both["shortcut"], start),
            Hold(),
            *self.maps(both["layers"], both["shortcut"]),
            AddHeld(),
        ]

    def _convolution(self, conv: _Convolution, relu6: bool, start: int | None) -> List[Step]:
        height, width = conv.weight.shape[2:]
        if (height, width) == (1, 1):
            return [*self.maps(conv.x, start), Pointwise(_pointwise(conv), conv.bias, relu6)]
        column = self.matched_convolution(conv.x)
        if not column or height != 1 or column.weight.shape[3] != 1 or conv.groups != len(column.weight):
            raise GraphError("a convolution that is neither 1x1 nor factorized")
        stride, padding = (column.stride[0], conv.stride[1]), (column.padding[0], conv.padding[1])
        if (column.stride[1], conv.stride[0], column.padding[1], conv.padding[0]) != (1, 1, 0, 0):
            raise GraphError("a factorized convolution with a stride or padding across")
        step = Factorized(
            column.weight, column.bias, conv.weight, conv.bias, column.groups, stride, padding, relu6
        )
        return [*self.maps(column.x, start), step]

    def matched_convolution(self, value: int) -> _Convolution | None:
        """Return the convolution with bias that makes the value, or None."""
        found = self.matches(value, ("add", "conv", ("reshape", "bias")))
        if not found:
            return None
        operator = self._graph.maker(found["conv"])
        if operator.name not in _CONVOLUTIONS:
            return None
        self.require(found["conv"], dilations=[1, 1], data_format="NCHW", padding_algorithm="EXPLICIT")
        told = operator.attributes
        weight, bias = map(self._graph.parameter, (operator.inputs[1], found["bias"]))
        return _Convolution(
            operator.inputs[0],
            weight,
            bias.ravel(),
            tuple(told["strides"]),
            tuple(told["paddings"]),
            told["groups"],
        )

    def _shift_max(self, found: Dict[str, int]) -> ShiftMax:
        parts, centres = map(list, zip(*(self._centred(found[name]) for name in "ab")))
        for name, first, centre in zip("de" if "d" in found else "", parts[:2], centres[:2]):
            change, more = self._centred(found[name])
            operands = self.match(change, ("subtract", "part", "first"))
            if operands["first"] != first:
                raise GraphError("a fusion that is not the first one and a difference")
            parts.append(operands["part"])
            centres.append(centre + more)
        coefficients = self._split(parts, list(range(len(parts))))
        clip = self.match(coefficients, ("split_with_num", ("clip", "excited", "low", "high"), "axis"))
        constants = [self._constant(clip[name]) for name in ("low", "high", "axis")]
        if constants != [-2.0, 2.0, 1.0]:
            raise GraphError("coefficients in another range or of another axis")
        excite = self.matched_convolution(clip["excited"])
        squeeze = excite and self.matched_convolution(self.match(excite.x, ("relu", "x"))["x"])
        if not excite or not squeeze or self._pooled(squeeze.x) != found["x"]:
            raise GraphError("coefficients of another value")
        return ShiftMax(
            shift=self._shift(found["x"], found["shifted"]),
            squeeze=_pointwise(squeeze),
            squeeze_bias=squeeze.bias,
            excite=_pointwise(excite),
            excite_bias=excite.bias,
            centres=tuple(centres),
        )

    def _split(self, parts: Sequence[int], order: List[int] | None = None) -> int:
        """Return the list of tensors that the values `parts` are all of, in the `order` if there is one."""
        makers = [self._graph.maker(part) for part in parts]
        if any(maker.name != "split" or maker.inputs != makers[0].inputs for maker in makers):
            raise GraphError("values that are not parts of one tensor")
        if order and [maker.outputs.index(part) for maker, part in zip(makers, parts)] != order:
            raise GraphError("parts in another order")
        return makers[0].inputs[0]

    def _pooled(self, value: int) -> int:
        """Return the input of the global average pooling that produces `value`."""
        found = self.match(value, ("pool2d", "x", "size"))
        self.require(value, pooling_type="avg", adaptive=True)
        self.require(found["size"], value=[1, 1])
        return found["x"]

    def _centred(self, value: int) -> Tuple[int, float]:
        """Return (input, bias) of a `scale` operator with factor 1, or (value, 0.0) for any other operator."""
        maker = self._graph.maker(value)
        if maker.name != "scale":
            return value, 0.0
        if self._constant(maker.inputs[1]) != 1.0:
            raise GraphError("a factor in place of a centre")
        return maker.inputs[0], maker.attributes["bias"]

    def _shift(self, x: int, shifted: int) -> np.ndarray:
        """Return the channel of x that each channel of the shifted operand is."""
        conv = self.matched_convolution(x)
        other = self.matched_convolution(shifted)
        if conv and other and conv.x == other.x:
            rows = {row: channel for channel, row in enumerate(_rows(conv))}
            try:
                return np.array([rows[row] for row in _rows(other)])
            except KeyError:
                raise GraphError("a shifted convolution with other weights") from None
        joined = self.match(shifted, ("concat", "parts", "axis"))
        parts = self._graph.maker(joined["parts"]).inputs
        split = self.match(self._split(parts), ("split", "x", "sections", "axis"))
        if split["x"] != x or {self._constant(joined["axis"]), self._constant(split["axis"])} != {1}:
            raise GraphError("a shift of another value or axis")
        ends = np.cumsum(self._graph.maker(split["sections"]).attributes["value"])
        pieces = np.split(np.arange(ends[-1]), ends[:-1])
        numbers = self._graph.maker(parts[0]).outputs
        return np.concatenate([pieces[numbers.index(part)] for part in parts])

    def require(self, value: int, /, **attributes: Any) -> None:
        """Raise GraphError where the operator that makes the value has other attributes."""
        operator = self._graph.maker(value)
        for name, expected in attributes.items():
            if operator.attributes.get(name) != expected:
                raise GraphError(f"{operator.name} with {name} {operator.attributes.get(name)}")

    def _constant(self, value: int) -> Any:
        maker = self._graph.maker(value)
        if maker.name != "full":
            raise GraphError(f"a constant is expected in place of {maker.name}")
        return maker.attributes["value"]

    def match(self, value: int, pattern: Tuple[Any, ...]) -> Dict[str, int]:
        """Return the values that the pattern's names stand for.

        Raises GraphError: the value is made otherwise.
        """
        found = self.matches(value, pattern)
        if not found:
            raise GraphError(f"{self._graph.maker(value).name} where {pattern[0]} is expected")
        return found

    def matches(self, value: int, pattern: _Pattern) -> Dict[str, int] | None:
        """Return as `match`, but None where the value is made otherwise."""
        found: Dict[str, int] = {}
        return found if self._bind(value, pattern, found) else None

    def _bind(self, value: int, pattern: _Pattern, found: Dict[str, int]) -> bool:
        if isinstance(pattern, str):
            return found.setdefault(pattern, value) == value
        name, *parts = pattern
        maker = self._graph.maker(value)
        return maker.name == name and all(
            self._bind(operand, part, found) for operand, part in zip(maker.inputs, parts)
        )


def _rows(conv: _Convolution) -> List[bytes]:
    """Return weights and bias of each output of a 1x1 convolution."""
    return [row.tobytes() + bias.tobytes() for row, bias in zip(_pointwise(conv), conv.bias)]


def _pointwise(conv: _Convolution) -> np.ndarray:
    """Return a 1x1 convolution's weight as (out, in), with zeros outside the groups."""
    outputs, inputs, *size = conv.weight.shape
    if (size, conv.stride, conv.padding, outputs % conv.groups) != ([1, 1], (1, 1), (0, 0), 0):
        raise GraphError("a 1x1 convolution is expected")
    dense = np.zeros((outputs, conv.groups * inputs), "float32")
    for output in range(outputs):
        first = output * conv.groups // outputs * inputs
        dense[output, first : first + inputs] = conv.weight[output, :, 0, 0]
    return dense
