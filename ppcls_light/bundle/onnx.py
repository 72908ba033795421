"""The ONNX file of an exported folder: its own, or its graph converted by paddle2onnx.

paddle2onnx writes to stdout and ends the process on a graph that it does not know, so it gets a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from ..base.call import call_in_process
from ..base.files import StrPath, atomic_path, require_writable
from ..base.files import checksum as file_checksum
from ..errors import ExportError, UserError
from .folder import Bundle

logger = logging.getLogger(__name__)


def onnx_file(bundle: Bundle) -> str:
    """Return the path of the ONNX file of `bundle`: its own, or else its graph converted now.

    A conversion is kept beside the graph under a name that holds the graph's checksum, so that a folder that is
    exported anew never runs the old network; a folder that cannot be written costs a conversion every time. One that
    inference.yml lists with another checksum is damaged, and made again.

    Raises ExportError: the graph cannot be converted, or paddle2onnx is missing.
    """
    if bundle.onnx_file is not None:
        return bundle.onnx_file
    name = f"inference_{checksum(bundle)[:12]}.onnx"
    path = os.path.join(bundle.folder, name)
    listed = bundle.files.get(name)
    whole = os.path.isfile(path) and (listed is None or file_checksum(path) == listed)
    if whole:
        return path
    bundle.files.pop(name, None)  # another version of paddle2onnx writes other bytes
    return _convert(bundle, path)


def _convert(bundle: Bundle, path: str) -> str:
    try:
        require_writable(path)
    except UserError as problem:
        path = os.path.join(scratch_folder(), os.path.basename(path))
        if not os.path.isfile(path):
            logger.warning(
                "%s: the ONNX graph is converted again by every process (%s)", bundle.folder, problem
            )
            to_onnx(bundle, path)
        return path
    to_onnx(bundle, path)
    for other in glob.glob(os.path.join(glob.escape(bundle.folder), f"inference_{'[0-9a-f]' * 12}.onnx")):
        if other != path:
            with contextlib.suppress(OSError):
                os.remove(other)
    return path


@functools.cache
def scratch_folder() -> str:
    """Return a temporary folder that this process removes at its end."""
    folder = tempfile.mkdtemp(prefix="ppcls_light_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def checksum(bundle: Bundle) -> str:
    """Return the SHA-256 of the network's files: Paddle's graph and parameters, and `bundle.onnx_file`.

    Raises UserError: a file cannot be read.
    """
    digest = hashlib.sha256()
    of_paddle = [] if bundle.format == "onnx" else [bundle.graph_file, bundle.params_file]
    for path in filter(None, [*of_paddle, bundle.onnx_file]):
        try:
            digest.update(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    return digest.hexdigest()


# From 14 on hard swish is one operator, which OpenVINO runs 2 to 3 times faster, and at 17 layer norm is one, too.
OPSET = 17

INT8_TO_ONNX = (
    "paddle2onnx cannot convert an int8 graph; train without Slim.quant and export with Global.export_precision=int8, "
    "which makes an int8 graph for every engine"
)


def to_onnx(bundle: Bundle, path: StrPath) -> None:
    """Write the Paddle graph of `bundle` as the ONNX file `path`, atomically; it passes onnx.checker.

    Its input is `x`, float32 (batch, C, H, W) with any batch, or of a graph with `Photos` `rgb` or `bgr`, uint8
    (batch, height, width, 3); its output is `probs` or `logits`, (batch, class_num).
    Behind that come the bundle's further ones by their names, such as `embedding`, (batch, D).

    Raises ExportError: paddle2onnx is not installed or cannot convert the graph (int8, say), or `path` cannot be
    written.
    """
    if bundle.precision == "int8":
        raise ExportError(INT8_TO_ONNX)
    if importlib.util.find_spec("paddle2onnx") is None:
        raise ExportError('ONNX needs paddle2onnx, which is not here; pip install "ppcls_light[onnx]"')
    with atomic_path(path, ExportError) as temporary:
        files = (bundle.graph_file, bundle.params_file, temporary)
        call_in_process(
            convert, *files, bundle.input, *bundle.outputs, task="paddle2onnx cannot convert the graph"
        )


def convert(graph: str, params: str, path: str, *names: str) -> None:
    """Do the work of `to_onnx` in this process; `names` are those for the graph's input and outputs."""
    import onnx

    try:
        import paddle2onnx
    except ImportError as error:
        raise ExportError(
            f"the installed paddle2onnx and Paddle do not go together, paddle2onnx 2 needs Paddle 3 ({error})"
        ) from None

    paddle2onnx.export(graph, params, path, opset_version=OPSET, optimize_tool=None)
    model = onnx.load(path)
    values = (model.graph.input[0], *model.graph.output)
    _rename(model.graph, {value.name: name for value, name in zip(values, names)})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    if names[0] != "x":
        for place, side in ((1, "height"), (2, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = side
    _fold_constants(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _rename(graph: Any, names: Dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        # Another exporter may have given the graph more outputs.
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]


def _fold_constants(graph: Any) -> None:
    """Compute the nodes that do not depend on the input, and drop those that compute nothing: two of three.

    Engines do so, too, each time they load the file; quantizers and readers of the file do not.
    """
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    same: Dict[str, str] = {}
    kept: List[Any] = []
    results = {value.name for value in graph.output}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in results:
            same[node.output[0]] = node.input[0]
        elif all(name in constants for name in node.input):
            values = ReferenceEvaluator(node, opsets={"": OPSET}).run(
                None, {name: constants[name] for name in node.input}
            )
            constants.update(zip(node.output, values))
        else:
            kept.append(node)
    kept = _with_biases(kept, constants)
    used = sorted({name for node in kept for name in node.input if name in constants})
    for field in (graph.node, graph.initializer, graph.value_info):
        del field[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(constants[name], name) for name in used)


def _with_biases(nodes: List[Any], constants: Dict[str, np.ndarray]) -> List[Any]:
    """Return `nodes` with every Conv + Add as one Conv; quantizers would round the sum between the two."""
    convs = {node.output[0]: node for node in nodes if node.op_type == "Conv" and len(node.input) == 2}
    uses = Counter(name for node in nodes for name in node.input)
    kept = []
    for node in nodes:
        conv = convs.get(node.input[0]) if node.op_type == "Add" else None
        bias = constants.get(node.input[1]) if conv else None
        if conv is None or bias is None or bias.shape != (1, bias.size, 1, 1) or uses[conv.output[0]] > 1:
            kept.append(node)
            continue
        name = f"{conv.output[0]}.bias"
        constants[name] = bias.reshape(-1)
        conv.input.append(name)
        conv.output[0] = node.output[0]
    return kept
