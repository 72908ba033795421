"""The fastest engine for a network on this machine, by a short measurement that is saved beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import List, Tuple

from ..base.machine import physical_cores, supports
from ..bundle.folder import Bundle
from ..config.deploy import EngineName, Precision
from ..errors import DeviceError
from .engine_file import conditions, load_choice, save_choice
from .engines import ENGINES
from .int8 import engines_with_int8
from .options import EngineOptions
from .race import Result, measure

logger = logging.getLogger(__name__)


def resolve(bundle: Bundle, options: EngineOptions, image_shape: Sequence[int]) -> EngineOptions:
    """Return `options` with a certain engine and precision in the place of "auto".

    On a GPU engine "auto" is Paddle, the only engine here that uses one; there is nothing to measure. On the
    CPU, Paddle with oneDNN and without, ONNX Runtime and OpenVINO, as far as they are installed, run random
    images (C, H, W) in turns, with the threads and the batch of `options`. The fastest is taken, and saved in
    engine.json.

    Raises:
        DeviceError: no engine runs the network as asked, with the reasons; or precision "auto" on a GPU.
    """
    if options.device == "gpu":
        if options.precision == "auto":
            raise DeviceError(
                "precision auto is for CPUs; with Global.use_gpu=True set Global.precision to fp32 or fp16"
            )
        return replace(options, engine="paddle")
    shape = (options.batch_size or 1, *image_shape)
    options = replace(options, cpu_threads=options.cpu_threads or physical_cores())
    key = conditions(bundle, options, shape)
    choice = load_choice(bundle.folder, key)
    if choice is None:
        logger.info(
            "choosing an engine by measurement, some seconds, once for this machine and %s", bundle.folder
        )
        results = measure(bundle, candidates(bundle, options), shape)
        best = choose(results)
        if best is None:
            reasons = "; ".join(f"{result.options.title}: {result.left_out}" for result in results)
            raise DeviceError(f"{bundle.folder}: no engine runs this network as asked ({reasons})")
        for result in results:
            top1 = bundle.precisions.get(result.options.engine, {}).get(result.options.precision)
            logger.info("%s%s", result, "" if top1 is None else f"; top-1 {top1:.2f} % at export")
        choice = {name: getattr(best.options, name) for name in ("engine", "onednn", "precision")}
        save_choice(bundle.folder, key, choice, [result.as_dict() for result in results])
    return replace(options, **choice)


def candidates(bundle: Bundle, options: EngineOptions) -> List[EngineOptions]:
    """Return the `EngineOptions` that "auto" in `options` stands for.

    Raises:
        DeviceError: int8 is asked for, and the folder has none.
    """
    pairs: List[Tuple[EngineName, Precision]]
    if options.precision == "auto":
        pairs = of_this_machine(bundle)
    elif options.precision == "int8" and bundle.precision != "int8":
        pairs = [(engine, "int8") for engine in engines_with_int8(bundle, options.engine)]
    else:
        pairs = [(engine, options.precision) for engine in ENGINES]
    listed = []
    for engine, precision in pairs:
        if options.engine in ("auto", engine):
            # Some networks are faster without oneDNN on some processors; other precisions need it.
            switches = (True, False) if (engine, precision) == ("paddle", "fp32") else (True,)
            listed += [
                replace(options, engine=engine, precision=precision, onednn=onednn) for onednn in switches
            ]
    return listed


def of_this_machine(bundle: Bundle) -> List[Tuple[EngineName, Precision]]:
    """Return the [(engine, precision)] that the export proved and the processor has, whatever is installed."""
    if bundle.precision == "int8":
        return [("paddle", "int8" if supports("int8") else "fp32")]
    if not bundle.precisions:
        logger.warning(
            "%s: only fp32 here; bf16 and int8 are compared with it at export, which also makes int8: "
            "tools/export_model.py -o Global.export_precision=int8",
            bundle.folder,
        )
    precisions: Tuple[Precision, ...] = ("fp32", "bf16", "int8")
    pairs = [
        (engine, precision)
        for precision in precisions
        for engine in ENGINES
        if precision == "fp32" or (precision in bundle.precisions.get(engine, ()) and supports(precision))
    ]
    return [pair for pair in pairs if pair[0] != "paddle" or bundle.format != "onnx"]


def choose(results: Sequence[Result]) -> Result | None:
    """Return the fastest of the `Result`s that are not left out, None when all are."""
    return min(
        (result for result in results if not result.left_out), key=lambda result: result.best, default=None
    )
