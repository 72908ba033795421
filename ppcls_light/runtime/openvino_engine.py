"""OpenVINO engine on the CPU."""

from __future__ import annotations

import copy
import functools
import logging
import sys
import threading

import numpy as np

from ..base.machine import forbidden, physical_cores, require
from ..bundle.folder import Bundle
from .engines import check_options, input_error, load_error
from .onnx_graph import graph_file
from .options import EngineOptions

# OpenVINO and NNCF then take the stubs that they keep for when their telemetry, which asks for an analytics host at
# every import, is not installed. Without effect where a caller has imported them before.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

__all__ = ["OpenVinoEngine", "core", "ov"]  # other modules import OpenVINO from here
logger = logging.getLogger(__name__)


def properties(options: EngineOptions) -> dict[str, str | int | bool]:
    """Return the properties of a compiled network.

    The precision must be set: on a processor that has bf16, OpenVINO takes that by itself. Pinning must be off:
    each process would take the first cores, so two processes of one thread would share one core.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": options.cpu_threads or physical_cores(),
        "INFERENCE_PRECISION_HINT": "bf16" if options.precision == "bf16" else "f32",
    }


@functools.cache
def core() -> ov.Core:
    """Return the one Core of the process.

    The first network that a Core compiles sets up a stack for the thread's signals, and a Core that goes sets up the
    one before again: of two Cores that go in the order in which they came, the second leaves freed memory there,
    and the next signal ends the process (OpenVINO 2026.4).
    """
    return ov.Core()


class OpenVinoEngine:
    """OpenVINO on the CPU: one network compiled for `options.batch_size`, one for every other batch.

    With the batch known, MicroNet takes half the time. The one for other batches is made when a batch is larger, or a
    second time smaller: the first, as the last of a folder, is filled up, which takes a tenth as long.
    Any thread may `run`, which lets other Python threads work meanwhile; as many requests are made as run at once.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions):
        check_options(options)
        if options.precision == "bf16":
            require("bf16")
        if limit := forbidden():
            logger.warning(
                "%s: OpenVINO mixes instruction sets under it and may end the process on networks with attention "
                "(EdgeNeXt); unset it, or set Global.engine=paddle",
                limit,
            )
        self.options = options
        self._file = graph_file(bundle, options)
        self._compiling = threading.Lock()
        self._compiled: dict[int | None, ov.CompiledModel] = {}
        self._idle: dict[int | None, list[ov.InferRequest]] = {options.batch_size: [], None: []}
        self._had_smaller = False
        self._network(options.batch_size)

    def _network(self, batch: int | None) -> ov.CompiledModel:
        with self._compiling:
            if batch not in self._compiled:
                self._compiled[batch] = self._compile(batch)
            return self._compiled[batch]

    def _compile(self, batch: int | None) -> ov.CompiledModel:
        try:
            model = core().read_model(self._file)
            if batch is not None:
                model.reshape([batch, *list(model.inputs[0].partial_shape)[1:]])
            return core().compile_model(model, "CPU", properties(self.options))
        except RuntimeError as error:
            version = ov.__version__.split("-")[0]
            raise load_error(self._file, f"OpenVINO {version}", error) from error

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the graph's first output (N, class_num) for images (N, C, H, W), float32.

        Raises ConfigError: the network cannot take images of this shape.
        """
        return self._run(images, 1)[0]

    def run_all(self, images: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the graph for images (N, C, H, W). Raises ConfigError: see `run`."""
        return self._run(images)

    def _run(self, images: np.ndarray, outputs: int | None = None) -> list[np.ndarray]:
        """Return the first `outputs` results, None: all."""
        count, images = len(images), self._filled_up(images)
        batch = len(images) if len(images) == self.options.batch_size else None
        idle = self._idle[batch]
        try:
            request = idle.pop()
        except IndexError:
            request = self._network(batch).create_infer_request()
        try:
            results = request.infer({0: images}, share_inputs=True)
            return [results[index][:count] for index in range(len(results))[:outputs]]
        except RuntimeError as error:
            raise input_error(self._file, images, error) from error
        finally:
            idle.append(request)

    def _filled_up(self, images: np.ndarray) -> np.ndarray:
        """Return the first batch that is smaller than `options.batch_size` with zeros behind it, others as they are."""
        missing = (self.options.batch_size or 0) - len(images)
        if missing <= 0 or self._had_smaller:
            return images
        self._had_smaller = True
        return np.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))

    def clone(self) -> OpenVinoEngine:
        """Return an engine for another thread; compiled networks and requests are shared."""
        return copy.copy(self)
