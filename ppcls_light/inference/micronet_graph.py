"""An exported MicroNet as one operator (`ops/micronet.cc`): its graph read back into the steps of a plan."""

from typing import NamedTuple, Tuple

import numpy as np

from ..ops.plan import AddHeld, Factorized, Hold, Linear, Pointwise, Pool, ShiftMax, Softmax
from .paddle_graph import GraphError

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_FUSION = ("add", ("multiply", "a", "x"), ("multiply", "b", "shifted"))
_SECOND_FUSION = ("add", ("multiply", "d", "x"), ("multiply", "e", "shifted"))
_COEFFICIENTS = ("clip", "excited", "low", "high")


def micronet_steps(graph):
    """Return the steps (`ops.plan`) of a `PaddleGraph` that is a folded MicroNet, with or without a softmax.

    Raises:
        GraphError: it is not.
    """
    reader = _Reader(graph)
    try:
        probabilities = reader.matches(graph.output(), ("softmax", "logits"))
        if probabilities:
            return [*reader.head(probabilities["logits"]), Softmax()]
        return reader.head(graph.output())
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as problem:
        raise GraphError(f"{type(problem).__name__}: {problem}") from None


class _Convolution(NamedTuple):
    x: int
    weight: np.ndarray
    bias: np.ndarray
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    groups: int


class _Reader:
    """Each method returns the steps from the graph's input to a value."""

    def __init__(self, graph):
        self._graph = graph

    def head(self, value):
        found = self.matches(value, ("hardswish", ("add", ("matmul", "x", "weight"), "bias")))
        if found:
            weight, bias = map(self._graph.parameter, (found["weight"], found["bias"]))
            return [*self.head(found["x"]), Linear(weight, bias)]
        pooled = self.match(value, ("flatten", ("hardswish", ("pool2d", "x"))))["x"]
        clipped = self.matches(pooled, ("relu6", "x"))
        return [*self.maps(clipped["x"] if clipped else pooled), Pool(bool(clipped))]

    def maps(self, value, start=None):
        """`start`: a value to begin at in place of the input."""
        if value == start or (start is None and self._graph.maker(value).name == "data"):
            return []
        for found in filter(None, (self.matches(value, pattern) for pattern in self._shift_max_patterns())):
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

    @staticmethod
    def _shift_max_patterns():
        return ("add", _FUSION, ("relu", _SECOND_FUSION)), _FUSION

    def _convolution(self, conv, relu6, start):
        height, width = conv.weight.shape[2:]
        if (height, width) == (1, 1):
            if conv.stride != (1, 1) or conv.padding != (0, 0):
                raise GraphError("a 1x1 convolution with a stride or padding")
            return [*self.maps(conv.x, start), Pointwise(_dense(conv), conv.bias, relu6)]
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

    def matched_convolution(self, value):
        """Return the convolution with bias that makes the value, or None."""
        found = self.matches(value, ("add", "conv", ("reshape", "bias")))
        if not found:
            return None
        operator = self._graph.maker(found["conv"])
        if operator.name not in _CONVOLUTIONS:
            return None
        told = operator.attributes
        if (
            told["dilations"] != [1, 1]
            or told["data_format"] != "NCHW"
            or told["padding_algorithm"] != "EXPLICIT"
        ):
            raise GraphError("a convolution with dilations or an unknown padding")
        weight, bias = map(self._graph.parameter, (operator.inputs[1], found["bias"]))
        return _Convolution(
            operator.inputs[0], weight, bias, tuple(told["strides"]), tuple(told["paddings"]), told["groups"]
        )

    def _shift_max(self, found):
        (a, a_centre), (b, b_centre) = (self._centred(found[name]) for name in "ab")
        split, (first, second) = self._parts(a, b)
        centres = [a_centre, b_centre]
        if "d" in found:
            for name, from_first, centre in (("d", a, a_centre), ("e", b, b_centre)):
                change, more = self._centred(found[name])
                operands = self.match(change, ("subtract", "fusion", "first"))
                if operands["first"] != from_first or self._parts(operands["fusion"], a)[0] != split:
                    raise GraphError("a fusion of other coefficients")
                centres.append(centre + more)
                second = self._parts(operands["fusion"], a)[1][0]
                if second != len(centres) - 1:
                    raise GraphError("fusions in another order")
        if first != 0 or self._parts(b, a)[1][0] != 1:
            raise GraphError("coefficients in another order")
        clip = self.match(split, ("split_with_num", _COEFFICIENTS))
        if (self._constant(clip["low"]), self._constant(clip["high"])) != (-2.0, 2.0):
            raise GraphError("coefficients in another range")
        excite = self.matched_convolution(clip["excited"])
        squeeze = excite and self.matched_convolution(self.match(excite.x, ("relu", "x"))["x"])
        if not squeeze or self.match(squeeze.x, ("pool2d", "x"))["x"] != found["x"]:
            raise GraphError("coefficients of another value")
        shift = self._shift(found["x"], found["shifted"])
        return ShiftMax(
            shift,
            squeeze.weight[:, :, 0, 0],
            squeeze.bias,
            excite.weight[:, :, 0, 0],
            excite.bias,
            tuple(centres),
        )

    def _parts(self, *values):
        """Return the value that is split and the numbers of the parts of it that `values` are."""
        makers = [self._graph.maker(value) for value in values]
        if any(maker.name != "split" for maker in makers) or len({maker.inputs for maker in makers}) != 1:
            raise GraphError("coefficients that are not parts of one tensor")
        return makers[0].inputs[0], [maker.outputs.index(value) for maker, value in zip(makers, values)]

    def _centred(self, value):
        """Return what a number was added to, and the number."""
        maker = self._graph.maker(value)
        if maker.name != "scale":
            return value, 0.0
        if self._constant(maker.inputs[1]) != 1.0:
            raise GraphError("a factor in place of a centre")
        return maker.inputs[0], maker.attributes["bias"]

    def _shift(self, x, shifted):
        """Return the channel of x that each channel of the shifted operand is."""
        conv = self.matched_convolution(x)
        other = self.matched_convolution(shifted)
        if conv and other and conv.x == other.x:
            rows = {_row(conv, i): i for i in range(len(conv.weight))}
            try:
                return np.array([rows[_row(other, i)] for i in range(len(other.weight))])
            except KeyError:
                raise GraphError("a shifted convolution with other weights") from None
        parts = self.match(shifted, ("concat", "parts"))["parts"]
        makers = [self._graph.maker(part) for part in self._graph.maker(parts).inputs]
        split = self.match(makers[0].inputs[0], ("split", "x", "sections"))
        if split["x"] != x:
            raise GraphError("a shift of another value")
        ends = np.cumsum(self._graph.maker(split["sections"]).attributes["value"])
        pieces = np.split(np.arange(ends[-1]), ends[:-1])
        order = self._graph.maker(parts).inputs
        return np.concatenate([pieces[maker.outputs.index(part)] for maker, part in zip(makers, order)])

    def _constant(self, value):
        maker = self._graph.maker(value)
        if maker.name != "full":
            raise GraphError(f"a constant is expected in place of {maker.name}")
        return maker.attributes["value"]

    def match(self, value, pattern):
        """Return the values that the pattern's names stand for.

        A pattern is (operator, patterns of its first inputs) or a name.

        Raises:
            GraphError: the value is made otherwise.
        """
        found = self.matches(value, pattern)
        if not found:
            raise GraphError(f"{self._graph.maker(value).name} where {pattern[0]} is expected")
        return found

    def matches(self, value, pattern):
        """Like `match`, but return None where the value is made otherwise."""
        found = {}
        return found if self._bind(value, pattern, found) else None

    def _bind(self, value, pattern, found):
        if isinstance(pattern, str):
            return found.setdefault(pattern, value) == value
        name, *parts = pattern
        maker = self._graph.maker(value)
        return maker.name == name and all(
            self._bind(operand, part, found) for operand, part in zip(maker.inputs, parts)
        )


def _row(conv, i):
    return conv.weight[i].tobytes() + conv.bias[i].tobytes()


def _dense(conv):
    """Return a 1x1 convolution's weight as (out, in), with zeros outside the groups."""
    outputs, inputs = conv.weight.shape[:2]
    dense = np.zeros((outputs, conv.groups * inputs), "float32")
    for output in range(outputs):
        first = output * conv.groups // outputs * inputs
        dense[output, first : first + inputs] = conv.weight[output, :, 0, 0]
    return dense
