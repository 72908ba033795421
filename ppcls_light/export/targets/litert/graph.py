"""A TFLite file of builtin operators, put together tensor by tensor and operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

OPTIONS = {
    "ADD": "AddOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
}
SCHEMA_VERSION = 3
CONSTANT = "constant_"  # with which names of constants begin
# Inputs that a runtime reads as half-precision numbers: weights and biases.
HALVES = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2)}


class Graph:
    """Tensors and operators of a network, in the order in which they run.

    Args:
        half: whether weights and biases are stored as float16. Runtimes compute in fp32 or fp16 as they are told.
    """

    def __init__(self, half: bool = False):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.half = schema, half
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[str] = []
        self.buffers = [schema.BufferT()]  # the first one is that of tensors without content
        self.producers: dict[int, Any] = {}
        self.contents: dict[int, np.ndarray] = {}
        self.scope = ""  # with which names of new tensors begin

    def tensor(self, shape: Sequence[int], dtype: Any = np.float32, name: str = "") -> int:
        """Return the number of a new tensor."""
        tensor = self.schema.TensorT()
        tensor.shape = list(map(int, shape))
        kinds = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32"}
        tensor.type = getattr(self.schema.TensorType, kinds[np.dtype(dtype).name])
        tensor.name = name or f"{self.scope}tensor_{len(self.tensors)}"
        tensor.buffer = 0
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, values: Any, dtype: Any = np.float32) -> int:
        """Return the number of a new tensor with this content."""
        content = np.ascontiguousarray(values, dtype).reshape(np.shape(values))
        number = self.tensor(content.shape, dtype, f"{CONSTANT}{len(self.tensors)}")
        self.contents[number] = content
        return number

    def operator(self, code: str, inputs: Sequence[int], shape: Sequence[int], **options: Any) -> int:
        """Append a builtin operator and return the number of its output, of this shape.

        `options` are fields of the operator's options in TFLite's schema.
        """
        operator = self.schema.OperatorT()
        operator.inputs = [
            self._halved(number) if self.half and place in HALVES.get(code, ()) else number
            for place, number in enumerate(inputs)
        ]
        if code not in self.codes:
            self.codes.append(code)
        operator.opcodeIndex = self.codes.index(code)
        if code in OPTIONS:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, OPTIONS[code])
            operator.builtinOptions = getattr(self.schema, f"{OPTIONS[code]}T")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        output = self.tensor(shape)
        operator.outputs = [output]
        self.operators.append(operator)
        self.producers[output] = operator
        return output

    def _halved(self, number: int) -> int:
        return self.operator(
            "DEQUANTIZE", [self.constant(self.contents[number], np.float16)], self.contents[number].shape
        )

    def code_of(self, number: int) -> str:
        """Return the name of the operator that makes a tensor, "" of an input or a constant."""
        return self.codes[self.producers[number].opcodeIndex] if number in self.producers else ""

    def activate(self, number: int, activation: str) -> bool:
        """Put an activation, such as RELU6, into the operator that makes a tensor; False: it takes none."""
        options: Any = self.producers[number].builtinOptions if number in self.producers else None
        if getattr(options, "fusedActivationFunction", None) != self.schema.ActivationFunctionType.NONE:
            return False
        options.fusedActivationFunction = getattr(self.schema.ActivationFunctionType, activation)
        return True

    def content(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """Return the file, with the operators that its outputs need and the names as signature `serving_default`."""
        import flatbuffers

        schema, needed = self.schema, set(outputs.values())
        operators: list[Any] = []
        for operator in reversed(self.operators):
            if needed & set(operator.outputs):
                needed |= set(operator.inputs)
                operators.insert(0, operator)
        kept = sorted(needed | set(inputs.values()))
        for operator in operators:
            operator.inputs = list(map(kept.index, operator.inputs))
            operator.outputs = list(map(kept.index, operator.outputs))
        for number in set(self.contents) & set(kept):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(self.contents[number].tobytes(), np.uint8)
            self.tensors[number].buffer = len(self.buffers)
            self.buffers.append(buffer)
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors = [self.tensors[number] for number in kept]
        subgraph.operators = operators
        subgraph.inputs = list(map(kept.index, inputs.values()))
        subgraph.outputs = list(map(kept.index, outputs.values()))
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(name, kept.index(number)) for name, number in inputs.items()]
        signature.outputs = [self._named(name, kept.index(number)) for name, number in outputs.items()]
        for name, number in {**inputs, **outputs}.items():
            self.tensors[number].name = name
        model = schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, "ppcls_light"
        model.operatorCodes = list(map(self._code, self.codes))
        model.subgraphs, model.buffers, model.signatureDefs = [subgraph], self.buffers, [signature]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _named(self, name: str, number: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, number
        return entry

    def _code(self, name: str) -> Any:
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # where readers before 2.3 look
        code.version = 1
        return code
