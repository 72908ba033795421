"""ONNX files of the browser's page: photos to images, and those to answers and class activation maps.

They are two so that a GPU can have the network alone; its weights are in half precision.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from operator import attrgetter
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from paddle import Tensor, nn

from ...base.call import call_in_process
from ...base.files import StrPath
from ...bundle.folder import PARAMS_FILE
from ...bundle.onnx import convert
from ...models import families
from ..preprocess import Preprocessing
from ..static import STEM, WithProbabilities, image_spec, photo_spec, save_network

PREPROCESS_FILE = "preprocess.onnx"
MODEL_FILE = "model.onnx"
MAP = "cam"  # output (N, class_num, h, w): the logits of each place
ASKED = "with_cam"  # input, a bool: without it that output is empty and costs nothing
_SMALL = 256  # values of a tensor that stays in float32, where half the bytes are few


def last_map(model: nn.Layer) -> str:
    """Return the name of the layer whose map the classifier of `model` pools, "" where none is known.

    An ML-Decoder pools nothing: it looks at the places of the map together.
    """
    found = [family for family in families() if isinstance(model, family.network)]
    return found[0].last_map(model) if found and not getattr(model, "ml_decoder", None) else ""


class WithMaps(nn.Layer):
    """`answers` of a network and, as the last output, the logits (N, class_num, h, w) of each place of its last map.

    All that follows the layer `last_map` of `network` is applied at each place as if the map had no other: pooling does
    nothing then, and layers between pooling and classifier become 1x1 convolutions. Where a linear classifier alone
    follows the pooling, these are the class activation maps (Zhou et al., arXiv 1512.04150) with the bias, whose mean
    is the logit.
    """

    def __init__(self, answers: WithProbabilities, last_map: str) -> None:
        super().__init__()
        self.answers, self._layer = answers, attrgetter(last_map)(answers.model)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        maps: List[Tensor] = []
        keep = self._layer.register_forward_post_hook(lambda layer, inputs, output: maps.append(output))
        found = self.answers(x)
        keep.remove()
        channels, height, width = maps[0].shape[1:]
        places = maps[0].transpose([0, 2, 3, 1]).reshape([-1, channels, 1, 1])
        # The layers before are recorded a second time, and dropped again since nothing needs them.
        put = self._layer.register_forward_post_hook(lambda layer, inputs, output: places)
        logits = self.answers.model(x)
        put.remove()
        cam = logits.reshape([-1, height, width, logits.shape[-1]]).transpose([0, 3, 1, 2])
        return (*(found if isinstance(found, tuple) else (found,)), cam)


def write_graphs(
    folded: nn.Layer,
    folder: StrPath,
    preprocessing: Preprocessing,
    softmax: bool,
    further: Sequence[str],
    multilabel: bool,
) -> None:
    """Write `preprocessing` and the network `folded` as ONNX files into `folder`.

    `PREPROCESS_FILE` has the input `rgb` or `bgr`, uint8 photos (N, H, W, 3) in that order, and the output `x`, float32
    (N, C, h, w). `MODEL_FILE` has the input `x`, and `ASKED` where the output `MAP` is there.
    Raises ExportError: a graph cannot be converted.
    """
    name = last_map(folded)
    answers = WithProbabilities(folded, further, multilabel, softmax)
    network = WithMaps(answers, name) if name else answers
    outputs = ["probs" if softmax or multilabel else "logits", *further, *([MAP] if name else [])]
    parts = (
        (preprocessing, photo_spec(), PREPROCESS_FILE, (preprocessing.channels, "x")),
        (network, image_spec(preprocessing.image_shape), MODEL_FILE, ("x", *outputs)),
    )
    for layer, spec, file, names in parts:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no variable in your model")  # the preprocessing has none
            suffix = save_network(layer, scratch, spec)
            graph, params = os.path.join(scratch, f"{STEM}.{suffix}"), os.path.join(scratch, PARAMS_FILE)
            call_in_process(
                _convert,
                *(graph, params, os.path.join(folder, file), *names),
                task="--format web: paddle2onnx cannot convert the graph",
            )


def _convert(graph: str, params: str, path: str, *names: str) -> None:
    """Do the work of `write_graphs` in a process of its own."""
    import onnx

    convert(graph, params, path, *names)
    model = onnx.load(path)
    if MAP in names:
        _on_demand(model.graph)
    _halve(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _on_demand(graph: Any) -> None:
    """Put the nodes that only `MAP` needs into a branch that is taken where the input `ASKED` is true."""
    from onnx import TensorProto, helper

    others = {value.name for value in graph.output} - {MAP}
    needed: List[Any] = []
    for node in reversed(graph.node):
        if others & set(node.output):
            needed.insert(0, node)
            others.update(node.input)
    branch = [node for node in graph.node if node not in needed]
    (output,) = (value for value in graph.output if value.name == MAP)
    shape = [0, *(side.dim_value for side in output.type.tensor_type.shape.dim[1:])]
    of_map, of_nothing = (
        helper.make_tensor_value_info(f"{MAP}.{name}", TensorProto.FLOAT, sides)
        for name, sides in (("asked", ["batch", *shape[1:]]), ("empty", shape))
    )
    for node in branch:
        node.output[:] = [of_map.name if name == MAP else name for name in node.output]
    nothing = helper.make_node(
        "Constant", [], [of_nothing.name], value=helper.make_tensor("", TensorProto.FLOAT, shape, [])
    )
    choice = helper.make_node(
        "If",
        [ASKED],
        [MAP],
        then_branch=helper.make_graph(branch, "asked", [], [of_map]),
        else_branch=helper.make_graph([nothing], "empty", [], [of_nothing]),
    )
    output.type.tensor_type.shape.dim[0].dim_param = "maps"
    graph.input.append(helper.make_tensor_value_info(ASKED, TensorProto.BOOL, []))
    del graph.node[:]
    graph.node.extend([*needed, choice])


def _halve(graph: Any) -> None:
    """Store large float32 weights of `graph` in float16, with a Cast behind each, which a runtime does once."""
    from onnx import helper, numpy_helper

    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        large = values.dtype == np.float32 and values.ndim > 1 and values.size >= _SMALL
        if not large or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=1))


def answers(folder: str, channels: str, photos: Sequence[np.ndarray]) -> Dict[str, np.ndarray]:
    """Return the outputs of `write_graphs` by name, stacked, of photos uint8 (H, W, 3), by ONNX Runtime."""
    import onnxruntime

    prepare, network = (
        onnxruntime.InferenceSession(os.path.join(folder, file), providers=["CPUExecutionProvider"])
        for file in (PREPROCESS_FILE, MODEL_FILE)
    )
    asked = {ASKED: np.array(True)} if len(network.get_inputs()) > 1 else {}
    images = [prepare.run(None, {channels: photo[None]})[0] for photo in photos]
    found = [network.run(None, {"x": image, **asked}) for image in images]
    return {output.name: np.concatenate(values) for output, values in zip(network.get_outputs(), zip(*found))}
