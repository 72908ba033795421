"""Creation of int8 graphs with Paddle, ONNX Runtime and NNCF (OpenVINO), and saving of trained int8 networks."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.base.layer_helper import LayerHelper
from paddle.quantization.imperative.qat import ImperativeQuantizeOutputs

from ..base.call import call_in_process
from ..base.machine import require
from ..bundle.folder import INT8_FILES, Bundle
from ..bundle.onnx import onnx_file
from ..compress import calibrate
from ..compress.quantize import QUANTIZED, input_scales, quantize
from ..errors import DeviceError, ExportError
from ..models import create_model
from ..weights import load_weights
from .fold.steps import fold
from .static import STEM, Recorded, WithProbabilities, image_spec


def make_int8(bundle: Bundle, engine: str, images: Sequence[np.ndarray], model: nn.Layer) -> None:
    """Put an int8 graph for `engine`, quantized after training on `images`, into the folder of an fp32 export.

    Activations get one scale per tensor, weights one per output channel. Grouped and depthwise convolutions stay in
    float, see `compress.calibrate`. Paddle's graph is made from `model`, trained in float; those of ONNX Runtime and
    OpenVINO from the ONNX file of `bundle`. The images are float32 (C, H, W).

    Raises DeviceError: the processor has no int8, or the tool is not installed. ExportError: the tool fails on this
    network.
    """
    require("int8")
    with tempfile.TemporaryDirectory() as scratch:
        if engine == "paddle":
            batches = (np.stack(images[start : start + 8]) for start in range(0, len(images), 8))
            save_int8(
                *(calibrate(model, batches), scratch, images[0].shape),
                *(bundle.further, bundle.multilabel, bundle.output == "probs"),
            )
            made = [os.path.join(scratch, f"{STEM}.{suffix}") for suffix in ("pdmodel", "pdiparams")]
        else:
            made = _quantize_onnx(bundle, engine, images, scratch)
        for file, name in zip(made, INT8_FILES[engine]):
            shutil.move(file, os.path.join(bundle.folder, name))


def _quantize_onnx(bundle: Bundle, engine: str, images: Sequence[np.ndarray], folder: str) -> list[str]:
    """Return the files, written into `folder`, of the graph that `engine`'s own tool makes."""
    library, extra, quantize_graph = {
        "onnxruntime": ("onnx", "onnx", _for_onnxruntime),
        "openvino": ("nncf", "int8", _for_openvino),
    }[engine]
    if importlib.util.find_spec(library) is None:
        raise DeviceError(
            f'int8 for {engine} is made by {library}, which is not installed; pip install "ppcls_light[{extra}]"'
        )
    path = onnx_file(bundle)
    try:
        return quantize_graph(path, folder, [image[None] for image in images])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise ExportError(f"{engine} cannot quantize {path} to int8 ({error})") from error


def _for_onnxruntime(onnx_file: str, folder: str, images: list[np.ndarray]) -> list[str]:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = ({"x": image} for image in images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    path = os.path.join(folder, "quantized.onnx")
    with _silent(""):
        quantize_static(
            onnx_file,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with QInt8 ONNX Runtime has slow kernels on x86
            weight_type=QuantType.QInt8,
            # Versions up to 1.20 want the range of every softmax, which stays in float.
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "Softmax"],
            nodes_to_exclude=_in_float(onnx_file),
            extra_options={"CalibMovingAverage": True},
        )
    return [path]


def _in_float(onnx_file: str) -> list[str]:
    import onnx

    def grouped(node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and any(
            field.name == "group" and field.i > 1 for field in node.attribute
        )

    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    return [node.name for node in nodes if node.op_type == "Softmax" or grouped(node)]


def _for_openvino(onnx_file: str, folder: str, images: list[np.ndarray]) -> list[str]:
    from ..runtime.openvino_engine import ov  # before NNCF, whose telemetry it keeps off, too

    with _silent("nncf"):
        import nncf

        quantized = nncf.quantize(
            ov.Core().read_model(onnx_file),
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(types=["GroupConvolution"], validate=False),
        )
        path = os.path.join(folder, "quantized.xml")
        ov.save_model(quantized, path, compress_to_fp16=False)
    return [path, os.path.join(folder, "quantized.bin")]


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Silence the advice and the progress that the tools print."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)


def save_int8(
    model: nn.Layer,
    folder: str,
    image_shape: Sequence[int],
    further: Sequence[str] = (),
    multilabel: bool = False,
    softmax: bool = True,
) -> str:
    """Save `model` with probabilities as `folder`/inference.{pdmodel,pdiparams} with a dynamic batch.

    Its batch norms are folded into the convolutions first. Weights are stored as int8, with a scale for each
    output channel; the scales of the inputs are those found in training or in calibration (`compress`). The image shape
    (C, H, W) is fixed in the graph; `further`, `multilabel` and `softmax` are those of `WithProbabilities`. Returned is
    "pdmodel", the format. Raises ExportError: Paddle cannot write it.
    """
    call_in_process(
        _save,
        *(model.model_name, model.options, {key: value.numpy() for key, value in model.state_dict().items()}),
        *(os.path.abspath(folder), list(image_shape), list(further), multilabel, softmax),
        task="Paddle cannot save the network as int8",
        # It writes int8 graphs only as inference.pdmodel and only in a process that was started for its older format.
        environment={"FLAGS_enable_pir_api": "0"},
    )
    return "pdmodel"


def _save(
    name: str,
    options: dict[str, Any],
    state: dict[str, np.ndarray],
    folder: str,
    image_shape: list[int],
    further: list[str],
    multilabel: bool,
    softmax: bool,
) -> None:
    paddle.set_device("cpu")
    model = create_model(name, **options)
    load_weights(model, {key: state[key] for key in model.state_dict()})
    scales = input_scales(state)
    static = quantize(fold(model, ["batch_norm"]), "moving_average_abs_max", only=scales)
    for name, layer in static.named_sublayers():
        if isinstance(layer, QUANTIZED):
            layer._fake_quant_input._scale.set_value(scales[name])
    static.eval()
    static(paddle.zeros([1, *image_shape]))  # finds the scales of the weights
    network = Recorded(WithProbabilities(static, further, multilabel, softmax))
    network.eval()
    _restore_older_operators()
    outputs = ImperativeQuantizeOutputs(onnx_format=True)
    outputs.save_quantized_model(network, os.path.join(folder, STEM), [image_spec(image_shape)])


def _restore_older_operators() -> None:
    """Make functions that the networks use write older graphs again, which Paddle 3.3 lets them do no more."""

    def operator(kind: str, inputs: dict[str, Tensor], attributes: dict[str, Any]) -> Tensor:
        helper = LayerHelper(kind)
        out = helper.create_variable_for_type_inference(dtype=inputs["X"].dtype)
        helper.append_op(type=kind, inputs=inputs, outputs={"Out": out}, attrs=attributes)
        return out

    def gelu(x: Tensor, approximate: bool = False, name: str | None = None) -> Tensor:
        return operator("gelu", {"X": x}, {"approximate": approximate})

    def matmul(
        x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False, name: str | None = None
    ) -> Tensor:
        return operator("matmul_v2", {"X": x, "Y": y}, {"trans_x": transpose_x, "trans_y": transpose_y})

    def maximum(x: Tensor, y: Tensor, name: str | None = None) -> Tensor:
        return operator("elementwise_max", {"X": x, "Y": y}, {"axis": -1})

    def sigmoid(x: Tensor, name: str | None = None) -> Tensor:
        return operator("sigmoid", {"X": x}, {})

    def normalize(
        x: Tensor, p: float = 2, axis: int = 1, epsilon: float = 1e-12, name: str | None = None
    ) -> Tensor:
        attributes = {"porder": float(p), "axis": axis, "epsilon": epsilon, "keepdim": True}
        return x / maximum(operator("p_norm", {"X": x}, attributes), paddle.full([1], epsilon))

    paddle.matmul, paddle.maximum = matmul, maximum
    paddle.nn.functional.gelu, paddle.nn.functional.normalize = gelu, normalize
    paddle.nn.functional.sigmoid = sigmoid
