"""The accuracy gate: top-1 of a network in other precisions, on labelled images that had no part in making them."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from ..data.image_list import ImageList
from ..errors import ConfigError, DataError, ExportError
from .verify import served_probs

MAX_DROP = 1.0
FEWEST = 16  # with less, one image is more than six percentage points


class Labelled(NamedTuple):
    """Labelled images, parted: those that calibrate int8 (paths) and those that score (paths, labels (N,))."""

    calibration: list[str]
    scored: list[str]
    labels: np.ndarray


class Top1Change(NamedTuple):
    """Top-1 of one network in two precisions, in percent, on the same `images` images."""

    images: int
    fp32: float
    other: float

    @property
    def change(self) -> float:
        """Percentage points; negative when the other precision is worse."""
        return self.other - self.fp32

    def __str__(self) -> str:
        return (
            f"top-1 {self.other:.2f} % ({self.change:+.2f} percentage points; {self.fp32:.2f} % in fp32) "
            f"on {self.images} images"
        )


class AccuracyGate:
    """Gate for the precisions of an exported network: those that keep its top-1 pass.

    Attributes:
        images: `Labelled`.
        max_drop: percentage points of top-1 that a precision may lose against fp32 in the same engine.

    Raises:
        ConfigError: `max_drop` is no number from 0 to 100.
    """

    def __init__(self, images: Labelled, max_drop: float = MAX_DROP):
        if not 0 <= max_drop <= 100:  # false for NaN, too
            raise ConfigError(
                f"--max-drop: {max_drop:g}: percentage points of top-1 are 0 to 100; for example 0.5"
            )
        self.images, self.max_drop = images, max_drop

    def compare(self, folder: str, engine: str, precision: str, fp32: float | None = None) -> Top1Change:
        """Return the change in top-1 from `fp32` percent, None: none, of an export that `engine` runs in `precision`.

        Raises:
            ExportError: the engine cannot run it, or it loses more than `max_drop`.
        """
        probs = served_probs(folder, self.images.scored, engine, precision)["probs"]
        other = top1(self.images.labels, probs)
        change = Top1Change(len(self.images.scored), other if fp32 is None else fp32, other)
        self.check(change)
        return change

    def check(self, change: Top1Change) -> None:
        """Raise ExportError for a `change` of more than `max_drop`."""
        # Half an image's worth of rounding must not decide.
        if -change.change > self.max_drop + 1e-9:
            raise ExportError(
                f"loses {-change.change:.2f} percentage points of top-1, more than the {self.max_drop:g} allowed "
                f"(--max-drop): {change.other:.2f} % after {change.fp32:.2f} % in fp32 on {change.images} images"
            )


def top1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the percentage of images whose best class is the label; an answer with NaN is wrong.

    Args:
        labels: (N,) ints.
        answers: (N, class_num) probabilities or logits.
    """
    right = (np.argmax(answers, axis=1) == labels) & ~np.isnan(answers).any(axis=1)
    return float(100 * np.mean(right))


def part(images: ImageList, count: int, calibration: ImageList | None = None) -> Labelled:
    """Draw images to calibrate with, and leave the others to be scored on: no image does both.

    The draw is random with a fixed seed, since lists are often sorted by class.

    Args:
        images: labelled, to be scored on.
        count: of the images that calibrate, at most; at most half of `images` when they come out of these.
        calibration: images that calibrate are drawn from these; None: from `images` themselves.

    Raises:
        DataError: less than 16 images are left for one of the two.
    """
    source = images if calibration is None else calibration
    count = min(count, len(source) // 2 if calibration is None else len(source))
    drawn = np.sort(np.random.default_rng(0).permutation(len(source))[:count])
    chosen = [source.path(int(index)) for index in drawn]
    taken = {os.path.realpath(path) for path in chosen}
    rest = [index for index in range(len(images)) if os.path.realpath(images.path(index)) not in taken]
    if min(len(chosen), len(rest)) < FEWEST:
        raise DataError(
            f"{len(chosen)} images to calibrate int8 with and {len(rest)} others to score are too few; give "
            f"labelled images of which {FEWEST} are left for each"
        )
    return Labelled(chosen, [images.path(index) for index in rest], images.labels[rest])
