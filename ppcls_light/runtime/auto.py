"""The fastest engine for a network on this machine, by a short measurement that is remembered beside it."""

import logging
from dataclasses import replace

from ..base.machine import physical_cores, supports
from ..errors import DeviceError
from .engine_file import conditions, load_choice, save_choice
from .engines import ENGINES
from .int8 import engines_with_int8
from .race import measure

logger = logging.getLogger(__name__)


def resolve(bundle, options, image_shape):
    """Return `options` with a certain engine and precision in the place of "auto".

    On a GPU engine "auto" is Paddle, the only engine here that uses one; there is nothing to measure. On the
    CPU, Paddle with oneDNN and without, ONNX Runtime and OpenVINO, as far as they are installed, run random
    images in turns, with the threads and the batch of `options`. The fastest is taken, and
    remembered in engine.json.

    Args:
        bundle: a `Bundle`.
        options: `EngineOptions`.
        image_shape: (C, H, W).

    Raises:
        DeviceError: no engine runs the network as asked, with the reasons; or precision "auto" on a GPU.
    """
    if options.device == "gpu":
        if options.precision == "auto":
            raise DeviceError(
                "precision auto is for CPUs; with Global.use_gpu=True set Global.precision to fp32 or fp16"
            )
        return replace(options, engine="paddle")
    shape = (options.batch_size, *image_shape)
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


def candidates(bundle, options):
    """Return the `EngineOptions` that "auto" in `options` stands for.

    Raises:
        DeviceError: int8 is asked for, and the folder has none.
    """
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


def of_this_machine(bundle):
    """Return the [(engine, precision)] that the export proved and the processor has, whatever is installed."""
    if bundle.precision == "int8":
        return [("paddle", "int8" if supports("int8") else "fp32")]
    if not bundle.precisions:
        logger.warning(
            "%s: only fp32 here; bf16 and int8 are compared with it at export, which also makes int8: "
            "tools/export_model.py -o Global.export_precision=int8",
            bundle.folder,
        )
    pairs = [
        (engine, precision)
        for precision in ("fp32", "bf16", "int8")
        for engine in ENGINES
        if precision == "fp32" or (precision in bundle.precisions.get(engine, ()) and supports(precision))
    ]
    return [pair for pair in pairs if pair[0] != "paddle" or bundle.format != "onnx"]


def choose(results):
    """Return the fastest of the `Result`s that are not left out, None when all are."""
    return min(
        (result for result in results if not result.left_out), key=lambda result: result.best, default=None
    )
