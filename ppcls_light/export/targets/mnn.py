"""MNN's format, which its runtime for Android, iOS and C++ reads."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence

import numpy as np

from ...errors import ExportError
from .target import Run, Target

FILES = {
    "fp32": ("inference.mnn",),
    "fp16": ("inference.fp16.mnn",),
    "int8": ("inference.int8.mnn",),
}
# fp16 and int8 are the weights' alone. In int8, scales by half-quadratic quantization (hqq) keep more best classes than
# those by the largest weight; int8 of what layers exchange, by mnnquant, keeps fewer, and is slower on x86-64.
_OPTIONS = {"fp32": (), "fp16": ("--fp16",), "int8": ("--weightQuantBits", "8", "--hqq")}


def convert(onnx_file: str, folder: str, precision: str, images: np.ndarray) -> None:
    """Write the graph with any batch."""
    source, file = os.path.abspath(onnx_file), os.path.abspath(os.path.join(folder, FILES[precision][0]))
    with tempfile.TemporaryDirectory() as scratch:
        if precision == "fp16":
            rounded = os.path.join(scratch, "rounded.onnx")
            _round_weights(source, rounded)
            source = rounded
        options = ["--modelFile", source, "--MNNModel", file, *_OPTIONS[precision]]
        # MNN's approximation of GELU moves a FasterNet's probabilities by 1e-3.
        printed = _mnnconvert(["-f", "ONNX", *options, "--useGeluApproximation", "0"], scratch)
    if not os.path.isfile(file):
        raise ExportError(_reason(printed))


def _round_weights(onnx_file: str, rounded: str) -> None:
    """Write the graph with weights that are the nearest halves: mnnconvert would cut them to the next smaller ones."""
    import onnx

    model = onnx.load(onnx_file)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, rounded)


def _mnnconvert(options: Sequence[str], scratch: str) -> str:
    """Return what mnnconvert prints, which has its errors as its result has not."""
    before, stdout = os.getcwd(), os.dup(1)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)
        os.chdir(scratch)  # it puts the weights into a file of the working folder for a while
        try:
            # Not MNN.tools: its import installs a package, and its commands report to MNN's authors what they convert.
            import _tools

            _tools.mnnconvert(["mnnconvert", *options])
        finally:
            os.chdir(before)
            os.dup2(stdout, 1)
            os.close(stdout)
        printed.seek(0)
        return printed.read().decode(errors="replace")


def _reason(text: str) -> str:
    """Return the last line of mnnconvert's that is not about failure as such, without its time and line number."""
    lines = [re.sub(r"^\[[\d:]+\] :\d+: ", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line and line != "Converted Failed!"), "no message")


def load(folder: str, precision: str, threads: int) -> Run:
    import MNN

    # On a phone "low" is half precision.
    runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
    file = os.path.join(folder, FILES[precision][0])
    network = MNN.nn.load_module_from_file(file, [], [], runtime_manager=runtime)

    def run(image: np.ndarray) -> list[np.ndarray]:
        values = MNN.expr.const(np.ascontiguousarray(image), list(image.shape), MNN.expr.NCHW)
        return [MNN.expr.convert(found, MNN.expr.NCHW).read().copy() for found in network.forward([values])]

    return run


TARGET = Target(
    name="mnn",
    title="MNN",
    extra="mnn",
    packages=("MNN",),
    files=FILES,
    convert=convert,
    load=load,
)
