"""ONNX Runtime engine."""

from __future__ import annotations

import copy
from typing import Sequence

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from ..base.machine import physical_cores
from ..bundle.folder import Bundle
from .engines import check_options, input_error, load_error
from .onnx_graph import graph_file
from .options import EngineOptions

# ONNX Runtime's own errors have no common base but Exception.
_ERRORS = (
    *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NoModel, state.NoSuchFile, state.NotImplemented, state.RuntimeException),
    *(RuntimeError, ValueError),
)


def session_options(options: EngineOptions) -> ort.SessionOptions:
    """Return the options of a session."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.cpu_threads or physical_cores()
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 3
    return settings


class OnnxEngine:
    """One session of ONNX Runtime on the CPU. Any thread may `run`, which lets other Python threads work meanwhile."""

    def __init__(self, bundle: Bundle, options: EngineOptions):
        check_options(options)
        self.options = options
        self._file = graph_file(bundle, options)
        try:
            self._session = ort.InferenceSession(
                self._file, session_options(options), providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise load_error(self._file, f"ONNX Runtime {ort.__version__}", error) from error
        self._input = self._session.get_inputs()[0].name
        self.outputs = [output.name for output in self._session.get_outputs()]

    @property
    def fixed_batch(self) -> int | None:
        """Number of images that the graph takes at once, None: any."""
        sizes = self._session.get_inputs()[0].shape
        return sizes[0] if sizes and isinstance(sizes[0], int) else None

    def run(self, images: np.ndarray, output: str | None = None) -> np.ndarray:
        """Return the graph's output (N, class_num) for images (N, C, H, W), float32.

        `output` is one of `outputs`; None: the first. Raises ConfigError: the network cannot take images of this shape.
        """
        return self.run_outputs(images, [output or self.outputs[0]])[0]

    def run_all(self, images: np.ndarray) -> list[np.ndarray]:
        """Return all `outputs` for images (N, C, H, W). Raises ConfigError: see `run`."""
        return self.run_outputs(images, self.outputs)

    def run_outputs(self, images: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return some of the `outputs` for images (N, C, H, W). Raises ConfigError: see `run`."""
        try:
            return self._session.run(list(outputs), {self._input: images})
        except _ERRORS as error:
            raise input_error(self._file, images, error) from error

    def clone(self) -> OnnxEngine:
        """Return an engine for another thread; a session may be shared."""
        return copy.copy(self)
