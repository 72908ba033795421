"""A quantized network, trained as that or calibrated, saved as an int8 graph that Paddle Inference reads.

Paddle 3 writes int8 graphs only as inference.pdmodel and only in a process that was started for its older
graph format (`FLAGS_enable_pir_api=0`), so this module is also a program:

    python -m ppcls_light.export.int8 NETWORK.json WEIGHTS.pdparams FOLDER
"""

import json
import os
import sys
import tempfile

import paddle
from paddle.base.layer_helper import LayerHelper
from paddle.quantization.imperative.qat import ImperativeQuantizeOutputs

from ..base.child import run_module
from ..base.files import write_text
from ..base.machine import require
from ..bundle.onnx import INT8_TO_ONNX
from ..compress.quantize import QUANTIZED, input_scales, quantize
from ..errors import ExportError
from ..models import create_model
from ..weights import load_weights, read_weights, write_weights
from .fold.steps import fold
from .static import STEM, WithSoftmax, image_spec


def check_int8(onnx=False):
    """Refuse an int8 export that would come to nothing, before any work is done for it.

    The export is proved in Paddle Inference, which needs the processor's int8 instructions for that.

    Args:
        onnx: whether inference.onnx is wanted beside it.

    Raises:
        DeviceError: the processor has no int8. ExportError: paddle2onnx does not convert int8.
    """
    require("int8", "an int8 export", "export on a processor that has them, or in fp32")
    if onnx:
        raise ExportError(INT8_TO_ONNX)


def save_int8(model, folder, image_shape):
    """Save `model`, followed by a softmax, as `folder`/inference.{pdmodel,pdiparams} with a dynamic batch.

    Its batch norms are folded into the convolutions first. Weights are stored as int8, with a scale for each
    output channel; the scales of the inputs are those found in training or in calibration.

    Args:
        model: a network of `create_model` that `compress.quantize` and a training have been at, or
            `compress.calibrate`.
        folder: an existing folder.
        image_shape: (C, H, W), fixed in the graph.

    Returns:
        "pdmodel", the format.

    Raises:
        ExportError: Paddle cannot write it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        network, weights = os.path.join(scratch, "network.json"), os.path.join(scratch, "weights.pdparams")
        described = {"name": model.model_name, "options": model.options, "image_shape": list(image_shape)}
        write_text(network, json.dumps(described))
        write_weights(weights, model.state_dict())
        run_module(
            "ppcls_light.export.int8",
            network,
            weights,
            folder,
            task="Paddle cannot save the network as int8",
            environment={"FLAGS_enable_pir_api": "0"},
        )
    return "pdmodel"


def main(network, weights, folder):
    paddle.set_device("cpu")
    with open(network, encoding="utf-8") as file:
        described = json.load(file)
    state = read_weights(weights)
    model = create_model(described["name"], **described["options"])
    load_weights(model, {key: state[key] for key in model.state_dict()})
    scales = input_scales(state)
    static = quantize(fold(model, ["batch_norm"]), "moving_average_abs_max", only=scales)
    for name, layer in static.named_sublayers():
        if isinstance(layer, QUANTIZED):
            layer._fake_quant_input._scale.set_value(scales[name])
    static.eval()
    image_shape = described["image_shape"]
    static(paddle.zeros([1, *image_shape]))  # finds the scales of the weights
    network = WithSoftmax(static)
    network.eval()
    _restore_older_operators()
    outputs = ImperativeQuantizeOutputs(onnx_format=True)
    outputs.save_quantized_model(network, os.path.join(folder, STEM), [image_spec(image_shape)])


def _restore_older_operators():
    """Make functions that the networks use write older graphs again, which Paddle 3.3 lets them do no more."""

    def operator(kind, inputs, attributes):
        helper = LayerHelper(kind)
        out = helper.create_variable_for_type_inference(dtype=inputs["X"].dtype)
        helper.append_op(type=kind, inputs=inputs, outputs={"Out": out}, attrs=attributes)
        return out

    def gelu(x, approximate=False, name=None):
        return operator("gelu", {"X": x}, {"approximate": approximate})

    def matmul(x, y, transpose_x=False, transpose_y=False, name=None):
        return operator("matmul_v2", {"X": x, "Y": y}, {"trans_x": transpose_x, "trans_y": transpose_y})

    def maximum(x, y, name=None):
        return operator("elementwise_max", {"X": x, "Y": y}, {"axis": -1})

    def normalize(x, p=2, axis=1, epsilon=1e-12, name=None):
        attributes = {"porder": float(p), "axis": axis, "epsilon": epsilon, "keepdim": True}
        return x / maximum(operator("p_norm", {"X": x}, attributes), paddle.full([1], epsilon))

    paddle.matmul, paddle.maximum = matmul, maximum
    paddle.nn.functional.gelu, paddle.nn.functional.normalize = gelu, normalize


if __name__ == "__main__":
    main(*sys.argv[1:])
