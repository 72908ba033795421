"""What the engines that run ONNX graphs share: the options that are Paddle's alone, and the graph's file."""

import atexit
import contextlib
import functools
import glob
import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import DeviceError, UserError
from ..files import require_writable

logger = logging.getLogger(__name__)

_PADDLE_ONLY = {
    "use_tensorrt": (True, "Global.use_tensorrt=True"),
    "ir_optim": (False, "Global.ir_optim=False"),
    "profile": (True, "Global.enable_profile=True"),
}


def check_options(options, precisions):
    """Refuse what an engine beside Paddle cannot do; `precisions` are those that it has.

    Raises:
        DeviceError: names the switch and the fix.
    """
    if options.device != "cpu":
        raise DeviceError(
            f"engine {options.engine} is for the CPU here; set Global.use_gpu=False, or Global.engine=paddle"
        )
    for name, (refused, switch) in _PADDLE_ONLY.items():
        if getattr(options, name) == refused:
            raise DeviceError(
                f"{switch} is a switch of Paddle, not of engine {options.engine}; leave it out, or set "
                "Global.engine=paddle"
            )
    if options.precision not in precisions:
        raise DeviceError(
            f"engine {options.engine} has no precision {options.precision}, only {' and '.join(precisions)}; "
            "choose one of them, or Global.engine=paddle"
        )


def with_onnx_file(bundle):
    """Return `bundle` with an `onnx_file`: its own, or else its graph converted now.

    A conversion is kept beside the graph under a name that holds the graph's checksum, so that a folder that is
    exported anew never runs the old network; a folder that cannot be written costs a conversion every time.

    Raises:
        ExportError: the graph cannot be converted, or paddle2onnx is missing.
    """
    if bundle.onnx_file is not None:
        return bundle
    name = f"inference_{checksum(bundle)[:12]}.onnx"
    path = os.path.join(bundle.folder, name)
    if not os.path.isfile(path):
        path = _convert(bundle, path)
    return replace(bundle, onnx_file=path)


def _convert(bundle, path):
    from ..export.onnx import to_onnx

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
def scratch_folder():
    """Return a temporary folder that this process removes at its end."""
    folder = tempfile.mkdtemp(prefix="ppcls_light_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def checksum(bundle):
    """Return the SHA-256 of the network's files: Paddle's graph and parameters, and `bundle.onnx_file`.

    Raises:
        UserError: a file cannot be read.
    """
    digest = hashlib.sha256()
    of_paddle = [] if bundle.format == "onnx" else [bundle.graph_file, bundle.params_file]
    for path in filter(None, [*of_paddle, bundle.onnx_file]):
        try:
            digest.update(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    return digest.hexdigest()


def graph_file(bundle, options):
    """Return the ONNX file that `options.engine` runs at `options.precision`.

    Raises:
        UserError: there is none and it cannot be made; names the fix.
    """
    if bundle.precision == "int8":
        raise DeviceError(
            f"{bundle.folder}: this graph is int8 for Paddle, which engine {options.engine} cannot run; set "
            "Global.engine=paddle"
        )
    if options.precision == "int8":
        from .precisions import int8_graph

        return int8_graph(bundle, options.engine)
    return with_onnx_file(bundle).onnx_file
