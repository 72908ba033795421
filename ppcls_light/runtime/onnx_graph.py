"""Option checks and the ONNX file for the engines ONNX Runtime and OpenVINO."""

from __future__ import annotations

from ..bundle.folder import Bundle
from ..bundle.onnx import onnx_file
from ..errors import DeviceError
from .engines import ENGINES
from .options import EngineOptions

_PADDLE_ONLY = {
    "use_tensorrt": (True, "Global.use_tensorrt=True"),
    "ir_optim": (False, "Global.ir_optim=False"),
    "profile": (True, "Global.enable_profile=True"),
}


def check_options(options: EngineOptions) -> None:
    """Refuse options that an engine beside Paddle does not have.

    Raises DeviceError: names the switch and the fix.
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
    precisions = ENGINES[options.engine].precisions
    if options.precision not in precisions:
        raise DeviceError(
            f"engine {options.engine} has no precision {options.precision}, only {' and '.join(precisions)}; "
            "choose one of them, or Global.engine=paddle"
        )


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
