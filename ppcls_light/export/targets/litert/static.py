"""An ONNX graph as one image meets it: fixed shapes, folded constants, GELU and hard swish as one operator each."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any, NamedTuple

import numpy as np

HARD_SWISH = {"alpha": 1 / 6, "beta": 0.5}


def static(onnx_file: str) -> Any:
    """Return the ModelProto of a file for a batch of 1, simplified by ONNX Runtime, with the shapes of its tensors."""
    import onnx.shape_inference
    import onnxruntime

    model = onnx.load(onnx_file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "static.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath))
    _fuse(model.graph)
    return model


def _fuse(graph: Any) -> None:
    """Put one node in the place of those that compute GELU and hard swish, and drop what nothing reads."""
    from onnx import helper, numpy_helper

    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    patterns = Patterns({name: node for node in graph.node for name in node.output}, constants)
    nodes: list[Any] = []
    for node in graph.node:
        for kind, source in (("HardSwish", patterns.hard_swish(node)), ("Gelu", patterns.gelu(node))):
            if source is not None:
                node = helper.make_node(kind, [source], list(node.output))
        nodes.append(node)
    read = {output.name for output in graph.output}
    kept: list[Any] = []
    for node in reversed(nodes):
        if read & set(node.output):
            read |= set(node.input)
            kept.insert(0, node)
    del graph.node[:]
    graph.node.extend(kept)


class Patterns(NamedTuple):
    """Forms of an activation in several nodes, found from the last of them. Each function returns x, or None."""

    makers: dict[str, Any]
    constants: dict[str, np.ndarray]

    def hard_swish(self, node: Any) -> str | None:
        """x * HardSigmoid(x)."""
        for name, other in _either_way(node, "Mul"):
            maker = self.makers.get(other)
            if maker is not None and maker.op_type == "HardSigmoid" and maker.input[0] == name:
                given = {one.name: one.f for one in maker.attribute}
                if all(math.isclose(given.get(key, 0), HARD_SWISH[key], rel_tol=1e-5) for key in HARD_SWISH):
                    return name
        return None

    def gelu(self, node: Any) -> str | None:
        """x * (1 + erf(x / sqrt 2)) * 0.5."""
        product = self.makers.get(self._operand(node, "Mul", 0.5))
        for name, other in _either_way(product, "Mul"):
            maker = self.makers.get(self._operand(self.makers.get(other), "Add", 1))
            if maker is None or maker.op_type != "Erf":
                continue
            if self._operand(self.makers.get(maker.input[0]), "Div", math.sqrt(2)) == name:
                return name
        return None

    def _operand(self, node: Any, kind: str, constant: float) -> str:
        """Return the tensor that a node of a kind puts together with a constant, "" if it is another node."""
        for name, other in _either_way(node, kind):
            value = self.constants.get(other)
            if value is not None and value.size == 1 and math.isclose(value.item(), constant, rel_tol=1e-5):
                return name
        return ""


def _either_way(node: Any, kind: str) -> list[tuple[str, str]]:
    if node is None or node.op_type != kind:
        return []
    first, second = node.input
    return [(first, second), (second, first)] if kind != "Div" else [(first, second)]
