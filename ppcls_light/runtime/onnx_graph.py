"""ONNX file for the engines ONNX Runtime and OpenVINO."""

from __future__ import annotations

from ..bundle.folder import Bundle
from ..bundle.onnx import onnx_file
from ..errors import DeviceError
from .options import EngineOptions


def graph_file(bundle: Bundle, options: EngineOptions) -> str:
    """Return the file of the graph that `options.engine` runs: the bundle's, or its Paddle graph converted to ONNX.

    Raises UserError: there is none and it cannot be made; names the fix.
    """
    if bundle.precision == "int8":
        raise DeviceError(
            f"{bundle.folder}: this graph is int8 for Paddle, which engine {options.engine} cannot run; set "
            "Global.engine=paddle"
        )
    return onnx_file(bundle)
