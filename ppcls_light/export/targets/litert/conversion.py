"""ONNX operators as TFLite's: what of the 25 networks and of common heads is needed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....errors import ExportError
from .graph import Graph
from .layout import Value, channels_last, ordered, plain, reshaped, transposed

BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAXIMUM", "Min": "MINIMUM"}
UNARY = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Sqrt": "SQRT", "Gelu": "GELU"}
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
FUSED = ("RELU", "RELU6", "RELU_N1_TO_1")
INPUT = "x"
# Names of tensors that int8 leaves in fp32 begin with this: those of norms, whose squares have too wide a range.
FLOAT = "float_"
IN_FLOAT = ("LayerNormalization", "ReduceL2", "ReduceSum", "Sqrt", "Div")


def converted(model: Any, precision: str) -> bytes:
    """Return the TFLite file of an ONNX graph with fixed shapes, folded constants and fused GELU and hard swish.

    Args:
        model: ONNX's ModelProto. Its first input is called `x` in the file, in NHWC; outputs keep their names.
        precision: fp16 stores weights as float16. int8 is fp32 with operators that are fast in int8.

    Raises:
        ExportError: an operator has no form in TFLite here.
    """
    own = Conversion(model.graph, precision)
    for node in model.graph.node:
        own.convert(node)
    return own.content()


class Conversion:
    """State of a conversion: the file so far, and the values of ONNX's tensors in it."""

    def __init__(self, source: Any, precision: str):
        from onnx import numpy_helper

        self.source, self.integer = source, precision == "int8"
        self.graph = Graph(half=precision == "fp16")
        self.shapes = {
            info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
            for info in (*source.value_info, *source.output, *source.input)
        }
        self.constants = {one.name: numpy_helper.to_array(one) for one in source.initializer}
        self.readers = Counter(name for node in source.node for name in node.input)
        self.readers.update(output.name for output in source.output)
        self.shared: set[int] = set()  # tensors that several nodes read
        self.entry = source.input[0].name
        shape = self.shapes[self.entry]
        value = Value(-1, shape, channels_last(len(shape)))
        self.values = {self.entry: value._replace(number=self.graph.tensor(value.stored))}

    def content(self) -> bytes:
        """Return the file."""
        outputs = {}
        for output in self.source.output:
            value = self.values[output.name]
            outputs[output.name] = ordered(self.graph, value, plain(len(value.shape))).number
        return self.graph.content({INPUT: self.values[self.entry].number}, outputs)

    def convert(self, node: Any) -> None:
        """Append a node's operators. Raises ExportError: it has no form in TFLite here."""
        from onnx import helper

        kind = node.op_type
        bound = kind == "Max" and any(name in self.constants for name in node.input)
        self.graph.scope = FLOAT if bound or kind in IN_FLOAT else ""
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if kind in BINARY:
            results = [self.binary(BINARY[kind], *map(self.read, node.input))]
        elif kind in UNARY:
            results = [self.unary(UNARY[kind], self.value(node.input[0]))]
        elif kind in RESHAPES:
            results = [reshaped(self.graph, self.value(node.input[0]), self.shapes[node.output[0]])]
        else:
            rule = RULES.get(kind)
            if rule is None:
                raise ExportError(f"ONNX's operator {kind} has no form in TFLite here")
            found = rule(self, node, **attributes)
            results = found if isinstance(found, list) else [found]
        for name, value in zip(node.output, results):
            self.values[name] = value
            if self.readers[name] > 1:
                self.shared.add(value.number)

    def read(self, name: str) -> Value | np.ndarray:
        """Return a constant, or a value."""
        return self.constants[name] if name in self.constants else self.values[name]

    def value(self, name: str) -> Value:
        """Return a value of the shape that ONNX says. Raises ExportError: a constant, or one left to broadcasting."""
        value = self.values.get(name)
        if value is None or value.shape != self.shapes[name]:
            raise ExportError(f"ONNX's tensor {name} has no form in TFLite here")
        return value

    def operator(self, code: str, inputs: Sequence[int], value: Value, **options: Any) -> Value:
        """Append an operator whose result has the shape and order of `value`."""
        return value._replace(number=self.graph.operator(code, inputs, value.stored, **options))

    def unary(self, code: str, value: Value) -> Value:
        """Append an operator on each element, in the operator before it where that takes it."""
        fused = code in FUSED and value.number not in self.shared and self.graph.activate(value.number, code)
        if fused:
            return value
        return self.operator(code, [value.number], value)

    def binary(self, code: str, first: Value | np.ndarray, second: Value | np.ndarray) -> Value:
        """Append an operator on the elements of two tensors, which broadcast as in ONNX."""
        if code == "DIV" and not isinstance(second, Value):
            code, second = "MUL", 1 / second
        sides = (first, second)
        rank = max(len(side.shape) for side in sides)
        order = max(
            (side for side in sides if isinstance(side, Value)),
            key=lambda side: (len(side.shape), math.prod(side.shape)),
        ).order
        numbers, shape = [], np.broadcast_shapes(*(side.shape for side in sides))
        for side in sides:
            full = (1,) * (rank - len(side.shape)) + tuple(side.shape)
            if not isinstance(side, Value):
                content = side.reshape(full).transpose(order) if side.size > 1 else side.reshape(())
                numbers.append(self.graph.constant(content))
            else:
                whole = side if side.shape == full else reshaped(self.graph, side, full)
                numbers.append(ordered(self.graph, whole, order).number)
        return self.operator(code, numbers, Value(-1, shape, order))

    def reduced(self, code: str, value: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
        """Append a sum or mean over ONNX's axes."""
        axes = sorted(axis % len(value.shape) for axis in axes)
        places = self.graph.constant([value.order.index(axis) for axis in axes], "int32")
        shape = tuple(1 if dim in axes else size for dim, size in enumerate(value.shape))
        result = self.operator(code, [value.number, places], value._replace(shape=shape), keepDims=True)
        kept = [size for dim, size in enumerate(shape) if dim not in axes]
        return result if keepdims else reshaped(self.graph, result, kept)

    def part(self, value: Value, axis: int, start: int, size: int) -> Value:
        """Append a slice of one axis."""
        place = value.order.index(axis % len(value.shape))
        begin, sizes = [0] * len(value.shape), list(value.stored)
        begin[place], sizes[place] = start, size
        shape = list(value.shape)
        shape[value.order[place]] = size
        bounds = [self.graph.constant(one, "int32") for one in (begin, sizes)]
        return self.operator("SLICE", [value.number, *bounds], value._replace(shape=tuple(shape)))

    def joined(self, values: Sequence[Value], axis: int) -> Value:
        """Append a concatenation."""
        order = values[0].order
        values = [ordered(self.graph, value, order) for value in values]
        axis %= len(order)
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        result = Value(-1, tuple(shape), order)
        return self.operator(
            "CONCATENATION", [value.number for value in values], result, axis=order.index(axis)
        )


def convolution(
    own: Conversion,
    node: Any,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    **_: Any,
) -> Value:
    value, weights = own.value(node.input[0]), own.constants[node.input[1]]
    if weights.shape[1] == group == 1 and tuple(strides) == weights.shape[2:] and not any(pads):
        value, weights = patches(own, value, weights)
        strides = weights.shape[2:]
    value = ordered(own.graph, value, channels_last(4))
    bias = own.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights))
    same = [
        _same_padding(size, kernel, stride, dilation)
        for size, kernel, stride, dilation in zip(value.shape[2:], weights.shape[2:], strides, dilations)
    ]
    wanted = list(zip(pads[:2], pads[2:]))
    if any(pads) and wanted != same:
        paddings = own.graph.constant([(0, 0), *wanted, (0, 0)], "int32")
        padded = tuple(size + sum(ends) for size, ends in zip(value.shape[2:], wanted))
        value = own.operator(
            "PAD", [value.number, paddings], value._replace(shape=(*value.shape[:2], *padded))
        )
        pads = (0, 0, 0, 0)
    padding = own.graph.schema.Padding.SAME if any(pads) else own.graph.schema.Padding.VALID
    deep = weights.shape[1] == 1 and group > 1
    kernel = weights.transpose(1, 2, 3, 0) if deep else weights.transpose(0, 2, 3, 1)
    options = {
        **({"depthMultiplier": len(weights) // group} if deep else {}),
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
    }
    inputs = [value.number, own.graph.constant(kernel), own.graph.constant(bias)]
    result = Value(-1, own.shapes[node.output[0]], channels_last(4))
    return own.operator("DEPTHWISE_CONV_2D" if deep else "CONV_2D", inputs, result, **options)


def patches(own: Conversion, value: Value, weights: np.ndarray) -> tuple[Value, np.ndarray]:
    """Return image and kernel with channels, where one channel (1, 1, H, W * C) holds rows of channels last.

    EdgeNeXt's pointwise and patch convolutions come so. A kernel that steps by its own size may be cut into any number
    of channels: into those of square patches.
    """
    count, _, rows, width = weights.shape
    if width % rows:
        return value, weights
    depth = width // rows
    height, length = value.shape[2:]
    value = reshaped(own.graph, value, (1, height, length // depth, depth))
    return transposed(value, (0, 3, 1, 2)), weights.reshape(count, rows, rows, depth).transpose(0, 3, 1, 2)


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return what TFLite's SAME adds before and behind."""
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def linear(own: Conversion, value: Value, weights: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """Append a matrix product with weights (out, in) over the last axis."""
    value = ordered(own.graph, value, plain(len(value.shape)))
    bias = np.zeros(len(weights)) if bias is None else np.broadcast_to(bias, len(weights))
    inputs = [value.number, own.graph.constant(weights), own.graph.constant(bias)]
    result = value._replace(shape=(*value.shape[:-1], len(weights)))
    return own.operator("FULLY_CONNECTED", inputs, result, keepNumDims=True)


def gemm(
    own: Conversion, node: Any, alpha: float = 1, beta: float = 1, transA: int = 0, transB: int = 0
) -> Value:
    weights = alpha * own.constants[node.input[1]]
    bias = beta * own.constants[node.input[2]].reshape(-1) if len(node.input) > 2 else None
    value = own.value(node.input[0])
    return linear(own, transposed(value, (1, 0)) if transA else value, weights if transB else weights.T, bias)


def matmul(own: Conversion, node: Any) -> Value:
    first, second = own.value(node.input[0]), own.read(node.input[1])
    if isinstance(second, np.ndarray) and second.ndim == 2:
        return linear(own, first, second.T)
    second = own.value(node.input[1])
    order = plain(len(first.shape))
    flipped = (*order[:-2], order[-1], order[-2])
    first = ordered(own.graph, first, order)
    second = second if second.order == flipped else ordered(own.graph, second, order)
    result = Value(-1, own.shapes[node.output[0]], order)
    options = {"adjY": second.order == flipped}
    return own.operator("BATCH_MATMUL", [first.number, second.number], result, **options)


def batch_norm(own: Conversion, node: Any, epsilon: float = 1e-5, **_: Any) -> Value:
    value = own.value(node.input[0])
    scale, bias, mean, variance = (own.constants[name] for name in node.input[1:5])
    scale = scale / np.sqrt(variance + epsilon)
    shape = (1, -1) + (1,) * (len(value.shape) - 2)
    scaled = own.binary("MUL", value, scale.reshape(shape))
    return own.binary("ADD", scaled, (bias - mean * scale).reshape(shape))


def layer_norm(own: Conversion, node: Any, axis: int = -1, epsilon: float = 1e-5, **_: Any) -> Value:
    value, factors = own.value(node.input[0]), [own.constants[name] for name in node.input[1:]]
    axes = range(axis % len(value.shape), len(value.shape))
    centred = own.binary("SUB", value, own.reduced("MEAN", value, axes))
    variance = own.reduced("MEAN", own.binary("MUL", centred, centred), axes)
    inverse = own.unary("RSQRT", own.binary("ADD", variance, np.float32(epsilon)))
    result = own.binary("MUL", centred, inverse)
    for code, factor in zip(("MUL", "ADD"), factors):  # scale, and bias if there is one
        result = own.binary(code, result, factor)
    return result


def clip(own: Conversion, node: Any) -> Value:
    value = own.value(node.input[0])
    bounds = [own.constants[name] if name else None for name in node.input[1:]]
    low, high = (*bounds, None, None)[:2]
    if low == 0 and high == 6:
        return own.unary("RELU6", value)
    if low is not None and high is not None and low == -high:  # MINIMUM has no kernel in int8
        scaled = own.unary("RELU_N1_TO_1", own.binary("MUL", value, 1 / high))
        return own.binary("MUL", scaled, high)
    if low is not None:
        value = own.binary("MAXIMUM", value, low)
    return value if high is None else own.binary("MINIMUM", value, high)


def hard_sigmoid(own: Conversion, node: Any, alpha: float = 0.2, beta: float = 0.5) -> Value:
    value = own.value(node.input[0])
    if not math.isclose(alpha, 1 / 6, rel_tol=1e-5):
        value = own.binary("MUL", value, np.float32(6 * alpha))
    ramp = own.unary("RELU6", own.binary("ADD", value, np.float32(6 * beta)))
    return own.binary("MUL", ramp, np.float32(1 / 6))


def hard_swish(own: Conversion, node: Any) -> Value:
    value = own.value(node.input[0])
    if not own.integer:
        return own.operator("HARD_SWISH", [value.number], value)
    ramp = own.unary("RELU6", own.binary("ADD", value, np.float32(3)))  # HARD_SWISH is slow in int8
    return own.binary("MUL", own.binary("MUL", value, ramp), np.float32(1 / 6))


def mean(own: Conversion, node: Any, axes: Sequence[int] = (), keepdims: int = 1, **_: Any) -> Value:
    value = own.value(node.input[0])
    if len(node.input) > 1:
        axes = own.constants[node.input[1]].tolist()
    elif node.op_type == "GlobalAveragePool":
        axes = range(2, len(value.shape))
    return own.reduced("MEAN", value, axes or range(len(value.shape)), bool(keepdims))


def norm(own: Conversion, node: Any, axes: Sequence[int] = (), keepdims: int = 1, **_: Any) -> Value:
    value = own.value(node.input[0])
    axes = own.constants[node.input[1]].tolist() if len(node.input) > 1 else axes
    return own.unary("SQRT", own.reduced("SUM", own.binary("MUL", value, value), axes, bool(keepdims)))


def total(own: Conversion, node: Any, keepdims: int = 1, **_: Any) -> Value:
    axes = own.constants[node.input[1]].tolist()
    return own.reduced("SUM", own.value(node.input[0]), axes, bool(keepdims))


def softmax(own: Conversion, node: Any, axis: int = -1) -> Value:
    value = own.value(node.input[0])
    rank = len(value.shape)
    if value.order[-1] != axis % rank:
        value = ordered(own.graph, value, (*(dim for dim in plain(rank) if dim != axis % rank), axis % rank))
    return own.operator("SOFTMAX", [value.number], value, beta=1.0)


def split(own: Conversion, node: Any, axis: int = 0, num_outputs: int = 0) -> list[Value]:
    value, sizes = own.value(node.input[0]), [own.shapes[name][axis] for name in node.output]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [own.part(value, axis, start, size) for start, size in zip(starts, sizes)]


def slices(own: Conversion, node: Any) -> Value:
    value, (starts, ends) = own.value(node.input[0]), (own.constants[name] for name in node.input[1:3])
    axes = own.constants[node.input[3]] if len(node.input) > 3 else np.arange(len(starts))
    if len(node.input) > 4 and np.any(own.constants[node.input[4]] != 1):
        raise ExportError("ONNX's operator Slice with steps has no form in TFLite here")
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist()):
        first, behind, _ = slice(start, end).indices(value.shape[axis])
        value = own.part(value, axis, first, behind - first)
    return value


def gather(own: Conversion, node: Any, axis: int = 0) -> Value:
    value, indices = own.value(node.input[0]), own.constants[node.input[1]]
    axis %= len(value.shape)
    if indices.ndim == 0:
        one = own.part(value, axis, int(indices) % value.shape[axis], 1)
        return reshaped(own.graph, one, (*value.shape[:axis], *value.shape[axis + 1 :]))
    shape = (*value.shape[:axis], len(indices), *value.shape[axis + 1 :])
    numbers = [value.number, own.graph.constant(indices, "int32")]
    place = value.order.index(axis)
    return own.operator("GATHER", numbers, value._replace(shape=shape), axis=place)


RULES: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Concat": lambda own, node, axis: own.joined([own.value(name) for name in node.input], axis),
    "Conv": convolution,
    "Expand": lambda own, node: own.value(node.input[0]),  # TFLite's operators on elements broadcast
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": mean,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Identity": lambda own, node: own.value(node.input[0]),
    "LayerNormalization": layer_norm,
    "MatMul": matmul,
    "ReduceL2": norm,
    "ReduceMean": mean,
    "ReduceSum": total,
    "Slice": slices,
    "Softmax": softmax,
    "Split": split,
    "Transpose": lambda own, node, perm: transposed(own.value(node.input[0]), perm),
}
