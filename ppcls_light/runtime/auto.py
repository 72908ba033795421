"""The fastest engine for a network on this machine, by a short measurement that is remembered beside it."""

import logging
from dataclasses import replace

from ..base.machine import physical_cores
from ..errors import DeviceError
from .engine_file import conditions, load_choice, save_choice
from .engines import ENGINES
from .precisions import candidates as of_this_machine
from .race import measure

logger = logging.getLogger(__name__)


def resolve(bundle, options, image_shape, accept=None, accept_by=None):
    """Return `options` with a certain engine and precision in the place of "auto".

    On a GPU engine "auto" is Paddle, the only engine here that uses one; there is nothing to measure. On the
    CPU, Paddle with oneDNN and without, ONNX Runtime and OpenVINO, as far as they are installed, run random
    images in turns, with the threads and the batch of `options`. The fastest is taken, and
    remembered in engine.json.

    Args:
        bundle: a `Bundle`.
        options: `EngineOptions`.
        image_shape: (C, H, W).
        accept: function of `EngineOptions`, called for each candidate that is not fp32; returns (why it cannot
            be chosen or "", a note to keep).
        accept_by: what `accept` depends on, as a JSON dict.

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
    key = conditions(bundle, options, shape, accept_by)
    choice = load_choice(bundle.folder, key)
    if choice is None:
        logger.info(
            "choosing an engine by measurement, some seconds, once for this machine and %s", bundle.folder
        )
        results = measure(bundle, candidates(bundle, options), shape)
        best = choose(results, accept)
        if best is None:
            reasons = "; ".join(f"{result.options.title}: {result.left_out}" for result in results)
            raise DeviceError(f"{bundle.folder}: no engine runs this network as asked ({reasons})")
        for result in results:
            logger.info("%s", result)
        choice = {name: getattr(best.options, name) for name in ("engine", "onednn", "precision")}
        save_choice(bundle.folder, key, choice, [result.as_dict() for result in results])
    return replace(options, **choice)


def candidates(bundle, options):
    """Return the `EngineOptions` that "auto" in `options` stands for."""
    if options.precision == "auto":
        pairs = of_this_machine(bundle)
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


def choose(results, accept=None):
    """Return the fastest of the `Result`s that are not left out, None when all are.

    `accept` as in `resolve`; whom it refuses is left out.
    """
    for result in results:
        if accept and not result.left_out and result.options.precision != "fp32":
            result.left_out, result.note = accept(result.options)
    return min(
        (result for result in results if not result.left_out), key=lambda result: result.best, default=None
    )
