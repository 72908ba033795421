"""int8 graphs beside an fp32 export: created per engine, and kept where `AccuracyGate` passes them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from paddle import nn

from ..base.machine import supports
from ..bundle.folder import INT8_FILES, ONNX_FILE, Ops, read_bundle
from ..config.values import EngineName, Precision
from ..errors import DeviceError, ExportError
from ..runtime.engines import ENGINES, missing_library
from .accuracy import AccuracyGate, Score, top1
from .int8 import make_int8
from .targets.convert import convert, served
from .verify import prepared

logger = logging.getLogger(__name__)


def add_precisions(
    model: nn.Layer,
    folder: str,
    image_shape: Sequence[int],
    transform_ops: Ops,
    gate: AccuracyGate,
    formats: Collection[str] = (),
) -> dict[str, dict[str, float]]:
    """Add to an fp32 export an int8 graph for each installed engine that keeps its top-1 with it.

    bf16 needs no graph of its own; where the processor has it, it is compared, too. With `formats`, those of `TARGETS`,
    their files in int8 are added from inference.onnx in place of the graphs of engines, and each must pass.

    Args:
        model: the network of the export, trained in float.
        folder: the export; each engine is run on it in a new process.
        image_shape: (C, H, W).
        transform_ops: (name, params) pairs.

    Returns:
        {engine or format: {precision: top-1 in percent}} of the precisions that passed `gate`, and of fp32.

    Raises:
        DataError: an image cannot be read. ExportError: no engine passes in int8, or one of `formats` does not.
    """
    images = list(prepared(transform_ops, image_shape, gate.images.calibration))
    if formats:
        onnx_file = os.path.join(folder, ONNX_FILE)
        return {name: _add_int8(folder, name, onnx_file, np.stack(images), gate) for name in formats}
    passed: dict[str, dict[str, float]] = {}
    fp32: dict[str, Score] = {}
    refused = []
    for engine, precision in _candidates():
        scores = passed.setdefault(engine, {})
        if precision != "fp32" and "fp32" not in scores:
            continue
        try:
            if precision == "int8":
                make_int8(read_bundle(folder), engine, images, model)
            score = gate.score(folder, engine, precision)
            change = gate.check(fp32.setdefault(engine, score), score)
        except (DeviceError, ExportError) as problem:
            refused.append(f"{engine} {precision}: {problem}")
            logger.warning("left out: %s", refused[-1])
            continue
        scores[precision] = score.top1
        if precision != "fp32":
            logger.info("%s %s: %s", engine, precision, change)
    if not any("int8" in scores for scores in passed.values()):
        raise ExportError(
            f"no engine passes in int8 ({'; '.join(refused)}); nothing was exported. Train for it "
            "(Slim.quant.name=pact), export in fp32, or allow more"
        )
    for name in (
        file for engine, files in INT8_FILES.items() if "int8" not in passed.get(engine, {}) for file in files
    ):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))
    return {
        engine: {name: round(top1, 3) for name, top1 in scores.items()}
        for engine, scores in passed.items()
        if scores
    }


def _add_int8(
    folder: str, name: str, onnx_file: str, images: np.ndarray, gate: AccuracyGate
) -> dict[str, float]:
    """Add the int8 file of a format, and return its top-1 and that of fp32, in percent by precision.

    Raises ExportError: the converter fails, or `gate` does not let it pass.
    """
    convert(folder, name, "int8", onnx_file, images)
    scores = {}
    for precision in ("fp32", "int8"):
        found = served(folder, name, precision, gate.images.scored)
        scores[precision] = Score(top1(gate.images.labels, found["probs"]), found.get("embedding"))
    try:
        change = gate.check(scores["fp32"], scores["int8"])
    except ExportError as problem:
        raise ExportError(f"--format {name} in int8: {problem}; nothing was exported") from None
    logger.info("%s int8: %s", name, change)
    return {precision: round(score.top1, 3) for precision, score in scores.items()}


def _candidates() -> Iterator[tuple[EngineName, Precision]]:
    """Yield (engine, precision) of the installed engines on this processor, fp32 of each engine first."""
    for engine, kind in ENGINES.items():
        if kind.precisions == ("fp32",):
            continue  # compared with the network at every export
        if missing := missing_library(engine):
            logger.info("left out: %s", missing)
        else:
            yield from ((engine, one) for one in kind.precisions if one != "bf16" or supports("bf16"))
