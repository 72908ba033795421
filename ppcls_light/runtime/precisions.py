"""bf16 and int8: what this processor and this folder can do."""

import os

from ..base.machine import require, supports
from ..bundle.folder import read_bundle
from ..errors import DeviceError
from .engines import ENGINES
from .int8 import SUFFIXES, find, missing_tool

# ONNX Runtime has no bf16 kernels for these processors.
_BF16_ENGINES = ("paddle", "openvino")
INT8_FOLDER = "int8"

GIVE_LABELS = "give labelled images by --labels LIST --image-root DIR"


def candidates(bundle, flags=None):
    """Return the [(engine, precision)] that the processor and the folder can do, whatever is installed.

    Args:
        bundle: a `Bundle`.
        flags: the processor's instruction sets; None: those that engines may use here.
    """
    if bundle.precision == "int8":
        return [("paddle", "int8" if supports("int8", flags) else "fp32")]
    pairs = [(engine, "fp32") for engine in ENGINES]
    if supports("bf16", flags):
        pairs += [(engine, "bf16") for engine in _BF16_ENGINES]
    if supports("int8", flags):
        pairs += [("paddle", "int8")] if os.path.isdir(os.path.join(bundle.folder, INT8_FOLDER)) else []
        pairs += [(engine, "int8") for engine in SUFFIXES]
    return [pair for pair in pairs if pair[0] != "paddle" or bundle.format != "onnx"]


def int8_graph(bundle, engine):
    """Return the path of the int8 graph that `engine` runs.

    Raises:
        DeviceError: the processor has no int8, or there is no such graph yet; says how to make it.
    """
    require("int8")
    path = find(bundle, engine)
    if path is None:
        raise DeviceError(
            missing_tool(engine)
            or f"{bundle.folder}: no int8 graph for {engine} here, and one is made from images; {GIVE_LABELS}"
        )
    return path


def int8_bundle(bundle):
    """Return the `Bundle` of Paddle's int8 graph of this network, in its folder int8.

    Raises:
        DeviceError: there is none, or it is another network's; says how to make it.
    """
    folder = os.path.join(bundle.folder, INT8_FOLDER)
    fix = (
        "make it with tools/export_model.py -o Global.export_precision=int8 "
        f"Global.save_inference_dir={folder}"
    )
    if not os.path.isdir(folder):
        raise DeviceError(f"{bundle.folder} has no int8 graph for Paddle; {fix}")
    found = read_bundle(folder)
    if found.precision != "int8" or found.weights != bundle.weights:
        raise DeviceError(f"{folder} is not the int8 form of the network in {bundle.folder}; {fix}")
    found.check_files(found.graph_file, found.params_file)
    return found
