"""Speed comparison of the engines on random images, each in its own process, in alternating rounds."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Tuple

import numpy as np

from ..base.probabilities import probabilities
from ..base.timing import SETTLE_SECONDS, TimedProcess
from ..bundle.folder import Bundle
from ..bundle.onnx import onnx_file
from ..errors import DeviceError, UserError
from .engines import ENGINES, create_engine, missing_library
from .options import EngineOptions

# Until so many rounds those go on that take up to so many times as long as the fastest: the nearer, the longer.
_RACE = ((2, math.inf), (6, 1.5), (12, 1.15))
_ROUND_SECONDS = 0.17
# Longer than any of the networks here takes to load; an engine that hangs must not stop the choice.
_PATIENCE_SECONDS = 120

# How far a probability may be from the one that Paddle gives in fp32. The images are noise, which says little about
# the rounding of photos: for bf16 and int8, whose top-1 the export compares, this only finds what is broken.
_TOLERANCES = {"fp32": 1e-4, "bf16": 0.5, "int8": 1.0}
# OpenVINO rounds some pixels of a graph that prepares photos the other way; the bound is the export's.
_OPENVINO_ON_PHOTOS = 0.02


@dataclass(eq=False)
class Result:
    """A candidate and what is known of it."""

    options: EngineOptions
    # Of each round's median batch: the least of them counts, since other load only adds.
    milliseconds: List[float] = field(default_factory=list)
    answers: np.ndarray | None = None  # (N, class_num), probabilities
    difference: float | None = None  # the largest one of a probability from fp32's
    left_out: str = ""  # why it cannot be chosen, "" when it can

    @property
    def best(self) -> float:
        return min(self.milliseconds)

    def __str__(self) -> str:
        what = f"left out: {self.left_out}" if self.left_out else f"{self.best:.2f} ms per batch"
        return f"{self.options.title}: {what}"

    def as_dict(self) -> Dict[str, Any]:
        """Return this result as an entry of engine.json."""
        names = ("engine", "onednn", "precision")
        return {
            **{name: getattr(self.options, name) for name in names},
            "milliseconds": [round(value, 3) for value in self.milliseconds],
            "difference": self.difference,
            "left_out": self.left_out,
        }

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Leave the candidate out when there is a UserError."""
        try:
            yield
        except UserError as problem:
            self.left_out = str(problem)


class EngineCall:
    """A batch of random images of `shape` (N, C, H, W), the same for all, through an engine, to be timed.

    A graph that prepares photos itself gets photos of twice the sides.

    `note` is its answer (N, class_num), and its options in force, which may differ from those asked for.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions, shape: Sequence[int]) -> None:
        rng, (count, _, height, width) = np.random.default_rng(0), shape
        if bundle.photos is None:
            self._images = rng.standard_normal(shape).astype("float32")
        else:
            self._images = rng.integers(0, 256, (count, 2 * height, 2 * width, 3)).astype("uint8")
        self._engine = create_engine(bundle, options)

    def __call__(self) -> np.ndarray:
        self._answers = self._engine.run(self._images)
        return self._answers

    @property
    def note(self) -> Tuple[np.ndarray, EngineOptions]:
        return self._answers, self._engine.options


def measure(bundle: Bundle, listed: Sequence[EngineOptions], shape: Sequence[int]) -> List[Result]:
    """Run random images of `shape` (N, C, H, W) on each of `listed`; return a `Result` for each, in their order.

    One that fails or answers otherwise than Paddle in fp32 is left out.
    """
    if not listed:
        return []
    results = [Result(options) for options in listed]
    references = [result for result in results if result.options.precision == "fp32"]
    if not references:  # only to know what the answers should be
        references = [Result(replace(listed[0], engine=engine, precision="fp32")) for engine in ENGINES]
    with contextlib.ExitStack() as stack:
        processes = {}
        for result in dict.fromkeys([*references, *results]):
            with result.refusals():
                processes[result] = _start(bundle, result.options, shape)
                stack.callback(processes[result].close)
        for result, process in processes.items():
            with result.refusals():
                answers, in_force = process.prepared().note
                result.answers = (
                    probabilities(answers, bundle.multilabel) if bundle.output == "logits" else answers
                )
                if in_force.onednn != result.options.onednn:
                    raise DeviceError("Paddle cannot run this network with oneDNN")
        right = next((result.answers for result in references if not result.left_out), None)
        if right is not None:
            for result in results:
                allowed = _TOLERANCES[result.options.precision]
                if bundle.photos is not None and result.options.engine == "openvino":
                    allowed = _OPENVINO_ON_PHOTOS
                _compare(result, right, allowed)
        _take_turns({result: processes[result] for result in results if result in processes})
    return results


def _start(bundle: Bundle, options: EngineOptions, shape: Sequence[int]) -> TimedProcess:
    if missing := missing_library(options.engine):
        raise DeviceError(missing)
    if options.engine not in ("paddle", "native") and options.precision != "int8":
        bundle = replace(bundle, onnx_file=onnx_file(bundle))
    return TimedProcess(EngineCall, bundle, options, shape, patience=_PATIENCE_SECONDS)


def _compare(result: Result, right: np.ndarray, allowed: float) -> None:
    """Leave a result out whose answers are not the `right` ones, by more than is `allowed`."""
    answers = result.answers
    if result.left_out or answers is None:
        return
    if answers.shape != right.shape:
        result.left_out = f"it answers {list(answers.shape)}, Paddle {list(right.shape)}"
        return
    result.difference = float(np.abs(answers - right).max())
    if not result.difference <= allowed:  # true for NaN, too
        result.left_out = f"its answers differ by {result.difference:.1e} (allowed {allowed:.0e})"


def _take_turns(processes: Mapping[Result, TimedProcess]) -> None:
    for number in range(_RACE[-1][0]):
        racing = [result for result in processes if _races(result, processes, number)]
        if number and len(racing) < 2:
            break
        for result in racing:
            if result.options.cpu_threads != 1:
                time.sleep(SETTLE_SECONDS)
            with result.refusals():
                result.milliseconds.append(statistics.median(processes[result].turn(seconds=_ROUND_SECONDS)))


def _races(result: Result, rivals: Iterable[Result], number: int) -> bool:
    """Return whether `result` is measured in round `number`."""
    if result.left_out or number == 0:
        return not result.left_out
    least = min(other.best for other in rivals if not other.left_out)
    return result.best <= least * next(limit for end, limit in _RACE if number < end)
