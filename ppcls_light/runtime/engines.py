"""The engines that run an exported folder, by name, and their errors; each is imported when it is used."""

from __future__ import annotations

import importlib.util
import os
from importlib import import_module
from typing import Dict, List, NamedTuple, Protocol, Tuple

import numpy as np

from ..bundle.folder import Bundle
from ..config.values import EngineName, Precision
from ..errors import ConfigError, DeviceError, WeightsError
from .int8 import int8_bundle
from .options import EngineOptions


class Engine(Protocol):
    """A network in a library, from `Engine(bundle, options)`.

    The constructor refuses, by a UserError that names the switch and the fix, what it cannot do as asked.
    """

    options: EngineOptions  # in force

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the graph's first output (N, class_num) for images (N, C, H, W), float32; from any thread."""

    def run_all(self, images: np.ndarray) -> List[np.ndarray]:
        """Return all outputs of the graph for images (N, C, H, W), in their order, float32; from any thread."""

    def clone(self) -> Engine:
        """Return an engine for another thread that shares the weights."""


class Kind(NamedTuple):
    """An engine by name."""

    module: str  # of its class
    name: str  # of its class
    library: str = ""  # that it needs
    extra: str = ""  # of this package, which installs that
    # On a CPU. ONNX Runtime has no bf16 kernels for these processors.
    precisions: Tuple[Precision, ...] = ("fp32", "bf16", "int8")
    # False: `run` holds Python's lock, so that no other thread works meanwhile.
    shares_time: bool = True


ENGINES: Dict[EngineName, Kind] = {
    "paddle": Kind(".paddle_engine", "PaddleEngine", "paddle", "cpu", shares_time=False),
    "onnxruntime": Kind(".onnxruntime_engine", "OnnxEngine", "onnxruntime", "onnx", ("fp32", "int8")),
    "openvino": Kind(".openvino_engine", "OpenVinoEngine", "openvino", "openvino"),
    "native": Kind(".native_engine", "NativeEngine", precisions=("fp32",)),
}


_PADDLE_ONLY = {
    "use_tensorrt": (True, "Global.use_tensorrt=True"),
    "ir_optim": (False, "Global.ir_optim=False"),
    "profile": (True, "Global.enable_profile=True"),
}


def create_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return the engine `options.engine` of a `Bundle`.

    Raises DeviceError: its library is not installed, or there is no graph for it in this precision. WeightsError: a
    file of the folder is not of this export.
    """
    kind = ENGINES[options.engine]
    if options.precision == "int8" and bundle.precision != "int8":
        bundle = int8_bundle(bundle, options.engine)
    else:
        bundle.verify_checksums(*_files(bundle, options.engine))
    if missing := missing_library(options.engine):
        raise DeviceError(missing)
    try:
        module = import_module(kind.module, __package__)
    except ImportError as error:
        raise DeviceError(
            f"engine {options.engine}: {kind.library} is installed but cannot be imported ({error}); install it "
            f'again: pip install --force-reinstall "ppcls_light[{kind.extra}]"'
        ) from error
    return getattr(module, kind.name)(bundle, options)


def _files(bundle: Bundle, engine: EngineName) -> List[str]:
    """Return the files of the folder that the engine's answers come from."""
    if engine == "native":
        return [bundle.plan_file] if bundle.plan_file else []
    if engine != "paddle" and bundle.onnx_file:
        return [bundle.onnx_file]
    return [bundle.graph_file, bundle.params_file]


def missing_library(engine: EngineName) -> str:
    """Return the message for a person who lacks the library of `engine`, "" when it is there; imports nothing."""
    kind = ENGINES[engine]
    if not kind.library or importlib.util.find_spec(kind.library) is not None:
        return ""
    return f'engine {engine} needs {kind.library}, which is not installed; pip install "ppcls_light[{kind.extra}]"'


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


def load_error(path: str, engine: str, error: Exception) -> WeightsError:
    """Return the WeightsError of a network that `engine` (its name and version) cannot load from `path`."""
    # A file made here from the network is kept as long as the network is the same: exported again, too.
    made_here = os.path.basename(path).startswith("inference_")
    fix = "delete this file, and it is made again" if made_here else "copy or export it again"
    return WeightsError(
        f"{path}: {engine} cannot load this model, a file may be damaged or incomplete ({first_line(error)}); {fix}"
    )


def input_error(path: str, images: np.ndarray, error: Exception) -> ConfigError:
    """Return the ConfigError of a network that fails on `images` (N, C, H, W)."""
    return ConfigError(
        f"{path}: the network fails on an input of shape {list(images.shape)} ({first_line(error)}); check "
        "PreProcess.transform_ops"
    )


def first_line(error: Exception) -> str:
    """Return the first line of an exception that is a message."""
    lines = (line.strip() for line in str(error).splitlines())
    # OpenVINO names its own source files first
    return next(
        (line for line in lines if line and not line.startswith("Exception from")), type(error).__name__
    )
