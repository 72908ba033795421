"""VisualDL file handling: export of the network graph, and truncation of records on resume."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import paddle
from paddle import nn

from ..base.files import atomic_path


def describe_graph(model: nn.Layer, image_shape: tuple[int, int, int]) -> Any:
    """Return VisualDL's description (nodes, variables, edges) of `model` in eval mode on images (C, H, W).

    VisualDL's own `add_graph` reads the program format of Paddle 2. Paddle 3 traces into another one (PIR), here
    written as a program of the old format: names, shapes and attributes only, enough to be drawn.
    """
    from visualdl.component.graph.graph_component import analyse_model

    network = copy.deepcopy(model)
    network.eval()
    spec = [paddle.static.InputSpec([None, *image_shape], "float32", name="image")]
    with paddle.no_grad():
        static = paddle.jit.to_static(network, input_spec=spec, full_graph=True)
        program = static.forward.concrete_program.main_program
    if hasattr(program, "desc"):
        return analyse_model(program.desc.serialize_to_string())
    return analyse_model(_old_program(program).SerializeToString())


def drop_records_after(path: str, step: int) -> None:
    """Leave the records up to `step` in a VisualDL file, without one that a crash cut off."""
    from google.protobuf.message import DecodeError
    from visualdl.proto import record_pb2
    from visualdl.reader.record_reader import RecordReader
    from visualdl.writer.record_writer import RecordWriter

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = RecordWriter(file)
        for data in RecordReader(filepath=path).get_all():
            record = record_pb2.Record()
            try:
                record.ParseFromString(data)
            except DecodeError:
                break
            if all(value.id <= step for value in record.values):
                writer.write(data)


def _old_program(program: Any) -> Any:
    """Return a PIR program as a ProgramDesc."""
    from paddle.base.proto import framework_pb2 as proto

    old = proto.ProgramDesc()
    block = old.blocks.add(idx=0, parent_idx=-1)
    names: dict[int, str] = {}
    for number, op in enumerate(program.global_block().ops):
        kind = op.name().split(".", 1)[1]
        attributes = op.attrs()
        node = None
        if kind != "parameter":
            node = block.ops.add(type=kind)
            scope = attributes.get("struct_name", "").strip("/")
            _add_attribute(node, proto, "op_namescope", f"/{scope}/" if scope else "/")
            arguments = [names[value.id] for value in op.operands_source() if value.initialized()]
            node.inputs.add(parameter="X", arguments=arguments)
            for key in sorted(attributes.keys() - {"op_callstack", "struct_name", "stop_gradient"}):
                _add_attribute(node, proto, key, attributes[key])
        for index, value in enumerate(op.results()):
            if not value.initialized():
                continue
            name = attributes["parameter_name"] if node is None else f"{kind}_{number}.{index}"
            names[value.id] = name
            variable = block.vars.add(name=name, persistable=node is None)
            variable.type.type = proto.VarType.DENSE_TENSOR
            if value.is_dense_tensor_type():
                variable.type.dense_tensor.tensor.data_type = proto.VarType.FP32
                variable.type.dense_tensor.tensor.dims.extend(value.shape)
            if node is not None:
                node.outputs.add(parameter=f"Out{index}", arguments=[name])
    return old


def _add_attribute(node: Any, proto: ModuleType, name: str, value: object) -> None:
    """Add a text, number or list of numbers by its type, anything else as text."""
    if isinstance(value, bool):
        node.attrs.add(name=name, type=proto.BOOLEAN, b=value)
    elif isinstance(value, int):
        node.attrs.add(name=name, type=proto.LONG, l=value)
    elif isinstance(value, float):
        node.attrs.add(name=name, type=proto.FLOAT, f=value)
    elif isinstance(value, list) and all(isinstance(item, int) for item in value):
        node.attrs.add(name=name, type=proto.LONGS, longs=value)
    else:
        node.attrs.add(name=name, type=proto.STRING, s=str(value))
