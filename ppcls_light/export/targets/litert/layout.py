"""Order of dimensions in memory, so that NCHW becomes NHWC and few transpositions are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .graph import Graph

Order = tuple[int, ...]


class Value(NamedTuple):
    """A tensor of an ONNX graph: its number in the file, ONNX's shape, and the dimension that is at each place."""

    number: int
    shape: tuple[int, ...]
    order: Order

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape in the file."""
        return tuple(self.shape[dim] for dim in self.order)


def plain(rank: int) -> Order:
    """Return the order of ONNX."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Return NHWC."""
    return (0, *range(2, rank), 1)


def transposed(value: Value, perm: Sequence[int]) -> Value:
    """Return ONNX's transposition, which moves nothing in memory."""
    shape = tuple(value.shape[dim] for dim in perm)
    return Value(value.number, shape, tuple(list(perm).index(dim) for dim in value.order))


def ordered(graph: Graph, value: Value, order: Order) -> Value:
    """Return the value with its dimensions in this order."""
    if value.order == order:
        return value
    result = Value(-1, value.shape, order)
    if _longer(value.order, value.shape) == _longer(order, value.shape):
        return result._replace(number=_reshape(graph, value.number, result.stored))
    perm = graph.constant([value.order.index(dim) for dim in order], "int32")
    return result._replace(number=graph.operator("TRANSPOSE", [value.number, perm], result.stored))


def reshaped(graph: Graph, value: Value, shape: Sequence[int]) -> Value:
    """Return the value in another shape. Dimensions that are together in ONNX and in memory stay where they are."""
    parts = _parts(value.shape, shape)
    places = {dim: part for part, (old, _) in enumerate(parts) for dim in old}
    # A part whose dimensions are apart moves to the last of them, since channels are last.
    in_memory = dict.fromkeys(places[dim] for dim in reversed(_longer(value.order, value.shape)))
    sequence = [*(part for part in range(len(parts)) if part not in in_memory), *reversed(in_memory)]
    value = ordered(graph, value, _kept(value, parts, sequence))
    result = Value(-1, tuple(shape), tuple(dim for part in sequence for dim in parts[part][1]))
    return result._replace(number=_reshape(graph, value.number, result.stored))


def _kept(value: Value, parts: list[tuple[list[int], list[int]]], sequence: list[int]) -> Order:
    """Return the order with the dimensions of a part side by side, the value's own where it has them so."""
    order = tuple(dim for part in sequence for dim in parts[part][0])
    same = _longer(order, value.shape) == _longer(value.order, value.shape)
    return value.order if same else order


def _longer(order: Order, shape: Sequence[int]) -> list[int]:
    return [dim for dim in order if shape[dim] > 1]


def _parts(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return the shortest runs of dimensions of two shapes that have the same number of elements."""
    parts: list[tuple[list[int], list[int]]] = []
    left, right = list(range(len(old))), list(range(len(new)))
    while left or right:
        first, second = [left.pop(0)] if left else [], [right.pop(0)] if right else []
        while (sizes := (_size(old, first), _size(new, second)))[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                first.append(left.pop(0))
            else:
                second.append(right.pop(0))
        parts.append((first, second))
    return parts


def _size(shape: Sequence[int], dims: Sequence[int]) -> int:
    size = 1
    for dim in dims:
        size *= shape[dim]
    return size


def _reshape(graph: Graph, number: int, shape: Sequence[int]) -> int:
    while graph.code_of(number) == "RESHAPE":  # whose shape nothing else may need
        number = graph.producers[number].inputs[0]
    if tuple(graph.tensors[number].shape) == tuple(shape):
        return number
    return graph.operator("RESHAPE", [number, graph.constant(shape, "int32")], shape, newShape=list(shape))
