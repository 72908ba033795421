"""Accuracy check of int8 and bf16 exports: top-1 against fp32, on images not used for calibration."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from ..config.values import EngineName, Precision
from ..data.image_list import ImageList
from ..errors import ConfigError, DataError, ExportError
from .verify import served_probs

MAX_DROP = 1.0
LEAST_COSINE = 0.9  # of embeddings and fp32's, in the mean over images: neighbours stay neighbours
FEWEST = 16  # with less, one image is more than six percentage points


class Labelled(NamedTuple):
    """Labelled images, parted: those that calibrate int8 (paths) and those that score (paths, labels (N,))."""

    calibration: list[str]
    scored: list[str]
    labels: np.ndarray


class Score(NamedTuple):
    """Answers of an engine in a precision: top-1 in percent, and embeddings (N, D) of an export that has them."""

    top1: float
    embeddings: np.ndarray | None


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

    def score(self, folder: str, engine: EngineName, precision: Precision) -> Score:
        """Return the `Score` of an exported folder in an engine.

        Raises:
            DataError: an image cannot be read. ExportError: the folder cannot be run.
        """
        answers = served_probs(folder, self.images.scored, engine, precision)
        return Score(top1(self.images.labels, answers["probs"]), answers.get("embedding"))

    def check(self, fp32: Score, other: Score) -> str:
        """Return the change against fp32 as text.

        Raises ExportError: top-1 drops by more than `max_drop`, or the embeddings have another direction: a cosine
        below `LEAST_COSINE` in the mean.
        """
        change = self._check_top1(fp32.top1, other.top1)
        if fp32.embeddings is None or other.embeddings is None:
            return change
        cosine = float(np.mean(cosines(fp32.embeddings, other.embeddings)))
        change += f", embeddings of cosine {cosine:.4f} with fp32's"
        if not cosine >= LEAST_COSINE:  # true for NaN, too
            raise ExportError(
                f"{change}; below {LEAST_COSINE:g} they are others: export without Global.embedding"
            )
        return change

    def _check_top1(self, fp32: float, other: float) -> str:
        change = (
            f"top-1 {other:.2f} % ({other - fp32:+.2f} percentage points; {fp32:.2f} % in fp32) "
            f"on {len(self.images.scored)} images"
        )
        if fp32 - other > self.max_drop + 1e-9:  # the rounding of floats must not decide
            raise ExportError(f"{change}; --max-drop allows {self.max_drop:g}")
        return change


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine (N,) of each row of two arrays (N, D); 0 where one of them is zero."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(lengths, 1e-12)


def top1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the percentage of images whose best class is the label; an answer with NaN is wrong.

    Args:
        labels: (N,) ints.
        answers: (N, class_num) probabilities or logits.
    """
    right = (np.argmax(answers, axis=1) == labels) & ~np.isnan(answers).any(axis=1)
    return float(100 * np.mean(right))


def part(images: ImageList, count: int, calibration: ImageList | None = None) -> Labelled:
    """Split images at random into two disjoint sets: for calibration and for scoring.

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
