"""An ONNX graph quantized after training, for ONNX Runtime and for OpenVINO, each by its own tool.

Both are kept beside the ONNX graph under a name with two checksums, of the network and of the calibration images
that it was quantized with: a network exported anew, or other images, find nothing under theirs and make it again.

    inference_<network>_<images>.int8.onnx      ONNX Runtime
    inference_<network>_<images>.int8.xml, .bin OpenVINO
"""

import contextlib
import glob
import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from dataclasses import replace

from ..base.files import atomic_path, require_writable
from ..base.machine import require
from ..bundle.onnx import checksum, scratch_folder, with_onnx_file
from ..errors import DeviceError, ExportError, UserError
from .openvino_library import without_telemetry

SUFFIXES = {"onnxruntime": ".int8.onnx", "openvino": ".int8.xml"}
_LIBRARIES = {"onnxruntime": ("onnx", "onnx"), "openvino": ("nncf", "int8")}


def find(bundle, engine, images="*"):
    """Return the path of the graph that `engine` runs in int8, None when there is none.

    `images` is the checksum of the calibration images, by default any. The network's checksum is of its ONNX graph,
    too, so that is converted first if need be.
    """
    bundle = with_onnx_file(bundle)
    folder = os.path.dirname(bundle.onnx_file)
    pattern = f"inference_{checksum(bundle)[:12]}_{images}{SUFFIXES[engine]}"
    return next(iter(sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))), None)


def missing_tool(engine):
    """Return what to tell a person who lacks what quantizes for `engine`, "" when it is there."""
    library, extra = _LIBRARIES[engine]
    if importlib.util.find_spec(library) is not None:
        return ""
    return (
        f'int8 for {engine} is made by {library}, which is not installed; pip install "ppcls_light[{extra}]"'
    )


def in_writable_folder(bundle):
    """Return `bundle` with its ONNX graph where files can be kept beside it: in its folder, else in a temporary one.

    Raises:
        ExportError: it has no ONNX graph and cannot be converted into one.
    """
    bundle = with_onnx_file(bundle)
    try:
        require_writable(bundle.onnx_file)
    except UserError:
        copied = os.path.join(scratch_folder(), f"inference_{checksum(bundle)[:12]}.onnx")
        shutil.copyfile(bundle.onnx_file, copied)
        return replace(bundle, onnx_file=copied)
    return bundle


def make(bundle, engine, paths, prepare):
    """Quantize the graph of `bundle` for `engine` and return its path; one made from the same images is kept.

    Activations get one scale a tensor, weights one an output channel. Grouped and depthwise convolutions stay in
    float, see `compress.calibrate`.

    Args:
        bundle: a `Bundle` of `in_writable_folder`.
        paths: of the calibration images.
        prepare: path -> float32 (C, H, W).

    Raises:
        DeviceError: the processor has no int8, or the tool is not installed. DataError: an image cannot be read.
        ExportError: the tool fails on this network.
    """
    require("int8")
    images = hashlib.sha256("\n".join(map(os.path.realpath, paths)).encode()).hexdigest()[:8]
    found = find(bundle, engine, images)
    if found is not None:
        return found
    if missing := missing_tool(engine):
        raise DeviceError(missing)
    stem = f"inference_{checksum(bundle)[:12]}_{images}.int8"
    folder = os.path.dirname(bundle.onnx_file)
    ready = [prepare(path)[None] for path in paths]
    quantize = {"onnxruntime": _for_onnxruntime, "openvino": _for_openvino}[engine]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made = quantize(bundle.onnx_file, scratch, ready)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
            raise ExportError(
                f"{bundle.onnx_file}: cannot be quantized to int8 for {engine} ({error}); use another precision"
            ) from error
        # The last one is what `find` looks for.
        for file in made:
            with atomic_path(os.path.join(folder, stem + os.path.splitext(file)[1])) as temporary:
                shutil.copyfile(file, temporary)
    _remove_others(folder, stem, [os.path.splitext(file)[1] for file in made])
    return os.path.join(folder, stem + os.path.splitext(made[-1])[1])


def _remove_others(folder, stem, suffixes):
    for suffix in suffixes:
        hexadecimal = f"inference_{'[0-9a-f]' * 12}_{'[0-9a-f]' * 8}.int8{suffix}"
        for other in glob.glob(os.path.join(glob.escape(folder), hexadecimal)):
            if os.path.basename(other) != stem + suffix:
                with contextlib.suppress(OSError):
                    os.remove(other)


def _for_onnxruntime(onnx_file, folder, images):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._feeds = ({"x": image} for image in images)

        def get_next(self):
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


def _in_float(onnx_file):
    import onnx

    def grouped(node):
        return node.op_type == "Conv" and any(
            field.name == "group" and field.i > 1 for field in node.attribute
        )

    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    return [node.name for node in nodes if node.op_type == "Softmax" or grouped(node)]


def _for_openvino(onnx_file, folder, images):
    without_telemetry()
    import openvino

    with _silent("nncf"):
        import nncf

        quantized = nncf.quantize(
            openvino.Core().read_model(onnx_file),
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(types=["GroupConvolution"], validate=False),
        )
        path = os.path.join(folder, "quantized.xml")
        openvino.save_model(quantized, path, compress_to_fp16=False)
    return [os.path.join(folder, "quantized.bin"), path]


@contextlib.contextmanager
def _silent(name):
    """Keep the advice and the progress that the tools print off the user's screen."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)
