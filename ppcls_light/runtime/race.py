"""Race of the engines for a network: each runs random images in a process of its own, and they take turns."""

import contextlib
import math
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import List, Optional

import numpy as np

from ..base.probabilities import softmax
from ..base.timing import SETTLE_SECONDS, TimedProcess
from ..bundle.onnx import with_onnx_file
from ..errors import UserError
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


@dataclass(eq=False)
class Result:
    """What is known of a candidate.

    Attributes:
        options: the candidate.
        milliseconds: of each round's median batch; the least of them counts, since other load only adds.
        answers: (N, class_num).
        difference: the largest one of a probability from fp32's.
        left_out: why it cannot be chosen, "" when it can.
    """

    options: EngineOptions
    milliseconds: List[float] = field(default_factory=list)
    answers: Optional[np.ndarray] = None
    difference: Optional[float] = None
    left_out: str = ""

    @property
    def best(self):
        return min(self.milliseconds)

    def __str__(self):
        what = f"left out: {self.left_out}" if self.left_out else f"{self.best:.2f} ms a batch"
        return f"{self.options.title}: {what}"

    def as_dict(self):
        """Return what engine.json keeps."""
        names = ("engine", "onednn", "precision")
        return {
            **{name: getattr(self.options, name) for name in names},
            "milliseconds": [round(value, 3) for value in self.milliseconds],
            "difference": self.difference,
            "left_out": self.left_out,
        }


def measure(bundle, listed, shape):
    """Run random images of `shape` (N, C, H, W) on each of the `EngineOptions` in `listed`.

    Returns:
        A `Result` each, in the same order; one that fails or answers otherwise than Paddle in fp32 is left out.
    """
    if not listed:
        return []
    results = [Result(options) for options in listed]
    references = [result for result in results if result.options.precision == "fp32"]
    if not references:  # only to know what the answers should be
        references = [Result(replace(listed[0], engine=engine, precision="fp32")) for engine in ENGINES]
    images = np.random.default_rng(0).standard_normal(shape).astype("float32")
    with contextlib.ExitStack() as stack:
        processes = {
            result: _start(stack, bundle, result, images) for result in dict.fromkeys([*references, *results])
        }
        for result, process in processes.items():
            _answer(result, process)
            if result.answers is not None and bundle.output == "logits":
                result.answers = softmax(result.answers)
        right = next((result.answers for result in references if not result.left_out), None)
        if right is not None:
            for result in results:
                _compare(result, right)
        _take_turns([(result, processes[result]) for result in results])
    return results


class EngineCall:
    """A batch of images through an engine, to be timed.

    Attributes:
        note: what it answers (N, class_num), and its options in force, which may differ from those asked for.
    """

    def __init__(self, bundle, options, images):
        self._engine, self._images = create_engine(bundle, options), images

    def __call__(self):
        self._answers = self._engine.run(self._images)
        return self._answers

    @property
    def note(self):
        return self._answers, self._engine.options


def _start(stack, bundle, result, images):
    """Start a process that `stack` ends; None, and `left_out` set, when there is nothing to start."""
    engine = result.options.engine
    result.left_out = missing_library(engine)
    try:
        if engine != "paddle" and result.options.precision != "int8" and not result.left_out:
            bundle = with_onnx_file(bundle)
    except UserError as problem:
        result.left_out = str(problem)
    if result.left_out:
        return None
    process = TimedProcess(EngineCall, bundle, result.options, images, patience=_PATIENCE_SECONDS)
    stack.callback(process.close)
    return process


def _answer(result, process):
    if result.left_out:
        return
    try:
        result.answers, in_force = process.prepared().note
    except UserError as problem:
        result.left_out = str(problem)
        return
    if in_force.onednn != result.options.onednn:
        result.left_out = "Paddle cannot run this network with oneDNN"


def _compare(result, right):
    if result.left_out:
        return
    if result.answers.shape != right.shape:
        result.left_out = f"it answers {list(result.answers.shape)}, Paddle {list(right.shape)}"
        return
    result.difference = float(np.abs(result.answers - right).max())
    allowed = _TOLERANCES[result.options.precision]
    if not result.difference <= allowed:  # true for NaN, too
        result.left_out = f"its answers differ by {result.difference:.1e} (allowed {allowed:.0e})"


def _take_turns(runners):
    for number in range(_RACE[-1][0]):
        racing = [(result, process) for result, process in runners if _races(result, runners, number)]
        if number and len(racing) < 2:
            break
        for result, process in racing:
            if result.options.cpu_threads > 1:
                time.sleep(SETTLE_SECONDS)
            try:
                result.milliseconds.append(statistics.median(process.turn(seconds=_ROUND_SECONDS).times))
            except UserError as problem:
                result.left_out = str(problem)


def _races(result, runners, number):
    """Return whether `result` is measured in round `number`."""
    if result.left_out or number == 0:
        return not result.left_out
    least = min(other.best for other, _ in runners if not other.left_out)
    return result.best <= least * next(limit for end, limit in _RACE if number < end)
