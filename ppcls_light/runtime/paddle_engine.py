"""Paddle Inference engine: checks of the options against the installed build, and the predictor.

With `paddle_library` the only module here that imports Paddle.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..base.hints import command
from ..base.machine import physical_cores, require
from ..bundle.folder import Bundle
from ..errors import DeviceError, UserError
from .engines import first_line, input_error, load_error
from .options import EngineOptions
from .paddle_library import FREEING_FLAG, load

logger = logging.getLogger(__name__)

inference = load()

# All operators that training rounds: Paddle's own choice rounds pooling too, which training did not know of, and with
# less than all the scales of the others go wrong.
_INT8_OPERATORS = {"conv2d", "depthwise_conv2d", "fused_conv2d", "fc"}

_STDERR = threading.Lock()
_PASS_REPORT = b"\x1b[37m---    "  # in grey: "quantized 0 pool2d ops"

# Paddle's C++ errors arrive as any of these; NotImplementedError is a RuntimeError
_PADDLE_ERRORS = (RuntimeError, ValueError, IndexError, OSError)

# By default Paddle hands every intermediate result, when it is not needed any more, to a second thread to be freed,
# which takes up to a third of the time of networks this small. Kept from batch to batch they take more memory: some
# 40 MB for PPLCNet_x1_0 at batch 8.
_KEEP_RESULTS = -1.0


@dataclass(frozen=True)
class Build:
    """Abilities of the installed Paddle."""

    version: str
    cuda: bool
    gpus: int
    tensorrt: bool
    reads_json: bool

    @classmethod
    def installed(cls) -> Build:
        return cls(
            version=inference.version,
            cuda=inference.cuda,
            gpus=inference.gpus,
            tensorrt=any(inference.get_trt_compile_version()),
            reads_json=hasattr(inference.Config, "enable_new_ir"),
        )


def check_options(options: EngineOptions, build: Build, graph_format: str, int8: bool = False) -> None:
    """Refuse options that `build` cannot serve, before Paddle runs on the CPU in silence or aborts.

    `int8`: the graph is quantized.

    Raises DeviceError: names the switch and the fix.
    """
    on_gpu, no_gpu, no_tensorrt = options.device == "gpu", "Global.use_gpu=False", "Global.use_tensorrt=False"
    refusals = (
        (
            graph_format == "onnx",
            "this folder has inference.onnx alone, which Paddle does not run; choose the engine onnxruntime or "
            f"openvino, or export the model again with {command('export')}",
        ),
        (
            graph_format == "json" and not build.reads_json,
            f"this folder has inference.json, which Paddle {build.version} cannot read; install Paddle 3.0 or newer, "
            "or export the model with this Paddle",
        ),
        (
            on_gpu and int8,
            f"Global.use_gpu=True, but this folder is int8, which is for CPUs; set {no_gpu}, or export the network "
            "that was trained without Slim.quant",
        ),
        (
            on_gpu and not build.cuda,
            f"Global.use_gpu=True, but Paddle {build.version} here is built for the CPU; install paddlepaddle-gpu, or "
            f"set {no_gpu}",
        ),
        (
            on_gpu and options.gpu_id >= build.gpus,
            f"Global.use_gpu=True wants GPU {options.gpu_id}, but Paddle sees {build.gpus}; check nvidia-smi and "
            f"CUDA_VISIBLE_DEVICES, or set {no_gpu}",
        ),
        (
            options.use_tensorrt and not on_gpu,
            f"Global.use_tensorrt=True needs a GPU; add Global.use_gpu=True, or set {no_tensorrt}",
        ),
        (
            options.use_tensorrt and not build.tensorrt,
            f"Global.use_tensorrt=True, but Paddle {build.version} here is built without TensorRT; install a build "
            f"with it, or set {no_tensorrt}",
        ),
        (
            options.use_tensorrt and graph_format == "json",
            "Global.use_tensorrt=True takes inference.pdmodel, and this folder has inference.json; export with "
            f"Paddle 2.6, or set {no_tensorrt}",
        ),
        (
            options.precision == "fp16" and not on_gpu,
            "precision fp16 (Global.use_fp16=True) needs a GPU; add Global.use_gpu=True, or set Global.use_fp16=False",
        ),
        (
            options.precision in ("bf16", "int8") and (on_gpu or not options.onednn),
            f"precision {options.precision} is for the CPU with oneDNN; set {no_gpu} and Global.enable_mkldnn=True, or "
            "Global.precision=fp32",
        ),
        (
            options.precision == "bf16" and int8,
            "this folder is int8 and is run as that; set Global.precision=int8 in place of bf16",
        ),
    )
    for refused, message in refusals:
        if refused:
            raise DeviceError(message)


def plan(
    options: EngineOptions, graph_format: str, image_shape: Sequence[int] | None = None, int8: bool = False
) -> list[tuple[str, tuple]]:
    """Return the calls that configure Paddle: (method of `paddle.inference.Config`, its arguments), in order.

    A pure function, so that the calls can be read and tested without the device. `image_shape`
    is (C, H, W), which TensorRT needs for its dynamic batch. `int8`: the graph is quantized; without oneDNN's
    kernels it is computed in float, with the same rounding.
    """
    calls: list[tuple[str, tuple]] = [("disable_glog_info", ())]
    if options.device == "gpu":
        half = options.precision == "fp16"
        precision = inference.PrecisionType.Half if half else inference.PrecisionType.Float32
        calls.append(("enable_use_gpu", (options.gpu_mem, options.gpu_id, precision)))
        if options.use_tensorrt:
            calls += _tensorrt(options, precision, image_shape)
    else:
        calls.append(("disable_gpu", ()))
        calls.append(("set_cpu_math_library_num_threads", (options.cpu_threads or physical_cores(),)))
        # oneDNN is on by default from Paddle 3.0 on, so "off" must be set as well
        calls.append(("enable_mkldnn" if options.onednn else "disable_mkldnn", ()))
        if int8 and options.onednn:
            calls.append(("enable_mkldnn_int8", (_INT8_OPERATORS,)))
        if options.precision == "bf16":
            calls.append(("enable_mkldnn_bfloat16", ()))
    if graph_format == "json":
        # the order matters: memory optimisation of a PIR graph needs the new executor
        calls += [("enable_new_ir", (True,)), ("enable_new_executor", ())]
        if not options.ir_optim:  # switch_ir_optim is ignored on PIR
            calls.append(("set_optimization_level", (0,)))
    else:
        calls.append(("switch_ir_optim", (options.ir_optim,)))
    calls.append(("enable_memory_optim", ()))
    if options.profile:
        calls.append(("enable_profile", ()))
    return calls


def _tensorrt(
    options: EngineOptions, precision: Any, image_shape: Sequence[int] | None
) -> list[tuple[str, tuple]]:
    if image_shape is None:
        raise DeviceError(
            "Global.use_tensorrt=True needs the image shape, which this folder's inference.yml does not record; "
            f"export it again with {command('export')}, or set Global.use_tensorrt=False"
        )
    workspace, smallest_subgraph = 1 << 30, 3
    shapes = [{"x": [batch, *image_shape]} for batch in (1, options.batch_size, options.batch_size)]
    return [
        (
            "enable_tensorrt_engine",
            (workspace, options.batch_size, smallest_subgraph, precision, False, False),
        ),
        ("set_trt_dynamic_shape_info", tuple(shapes)),
    ]


@contextlib.contextmanager
def _without_pass_reports() -> Iterator[None]:
    """Keep the 32 lines that Paddle's int8 passes print about themselves, whatever its log level, off the screen.

    They come from C++, past `sys.stderr`; other lines that were printed meanwhile follow at the end.
    """
    # One at a time: the second of two would put the first one's file back for good.
    with _STDERR, tempfile.TemporaryFile() as printed:
        try:
            stderr = os.dup(2)
        except OSError:  # closed
            yield
            return
        os.dup2(printed.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            printed.seek(0)
            others = b"".join(line for line in printed if not line.startswith(_PASS_REPORT))
            if others:
                os.write(2, others)


class PaddleEngine:
    """One Paddle Inference predictor of an exported folder.

    One thread at a time runs it, the others wait: Paddle returns wrong numbers otherwise, without an error. They lose
    nothing, since Paddle holds Python's global lock while it runs; throughput comes from processes, not threads.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions):
        check_options(options, Build.installed(), bundle.format, bundle.precision == "int8")
        if options.precision == "bf16":
            require("bf16")
        elif bundle.precision == "int8" and options.onednn:
            require(
                "int8",
                f"{bundle.folder}: this int8 graph{bundle.proved_on and f' (proved on {bundle.proved_on})'}",
                "take the network's fp32 export, or set Global.precision=fp32 and Global.enable_mkldnn=False, which "
                "computes the same in float",
            )
        self.options = options
        self._bundle = bundle
        self._predictor = self._create(self.options)
        self._running = threading.Lock()

    def _create(self, options: EngineOptions) -> Any:
        bundle = self._bundle
        config = inference.Config(bundle.graph_file, bundle.params_file)
        for method, arguments in plan(options, bundle.format, bundle.image_shape, bundle.precision == "int8"):
            getattr(config, method)(*arguments)
        if options.device == "cpu" and FREEING_FLAG not in os.environ:
            inference.flags[FREEING_FLAG] = _KEEP_RESULTS
        try:
            with _without_pass_reports() if bundle.precision == "int8" else contextlib.nullcontext():
                return inference.create_predictor(config)
        except _PADDLE_ERRORS as error:
            raise load_error(bundle.folder, f"Paddle {inference.version}", error) from error

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the graph's first output (N, class_num) for images (N, C, H, W), float32.

        A run that fails with oneDNN is tried once without: Paddle 3.3.0 and 3.3.1 cannot run some operators under it
        (Paddle issue 77340), and on processors without AVX2 not the splits of a FasterNet.

        Raises ConfigError: the network cannot take images of this shape.
        """
        with self._running:
            return self._run_or_without_onednn(images)[0]

    def run_all(self, images: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the graph for images (N, C, H, W). Raises ConfigError: see `run`."""
        with self._running:
            return self._run_or_without_onednn(images)

    def _run_or_without_onednn(self, images: np.ndarray) -> list[np.ndarray]:
        try:
            return self._run(self._predictor, images)
        except _PADDLE_ERRORS as error:
            if not (
                self.options.onednn and self.options.device == "cpu" and self.options.precision != "bf16"
            ):
                raise input_error(self._bundle.folder, images, error) from error
            options = replace(self.options, onednn=False)
            try:
                predictor = self._create(options)
                answers = self._run(predictor, images)
            except (UserError, *_PADDLE_ERRORS):  # it is not oneDNN
                raise input_error(self._bundle.folder, images, error) from error
            logger.warning(
                "oneDNN is switched off, which is slower: Paddle %s cannot run this network with it here (%s)",
                inference.version,
                first_line(error),
            )
            self._predictor, self.options = predictor, options
            return answers

    def _run(self, predictor: Any, images: np.ndarray) -> list[np.ndarray]:
        names = predictor.get_input_names()
        predictor.get_input_handle(names[0]).copy_from_cpu(images)
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

    def clone(self) -> PaddleEngine:
        """Return an engine for another thread; the weights are shared.

        Raises WeightsError: the files, which Paddle reads again, are gone.
        """
        twin = copy.copy(self)
        twin._running = threading.Lock()
        try:
            with self._running:
                twin._predictor = self._predictor.clone()
        except _PADDLE_ERRORS as error:
            raise load_error(self._bundle.folder, f"Paddle {inference.version}", error) from error
        return twin
