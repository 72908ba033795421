"""Curves over a threshold of the score: precision and recall of a class, coverage and accuracy of all answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class PrecisionRecall(NamedTuple):
    """Precision and recall of a class whose images score `thresholds` and more; float64 (P,), thresholds rise.

    Recall is NaN where no image is of the class.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def average_precision(self) -> float:
        """Sum of the precisions, each times the recall gained at its threshold: scikit-learn's, not interpolated."""
        gained = self.recall - np.append(self.recall[1:], 0.0)
        return float((gained * self.precision).sum())

    def thinned(self, points: int) -> PrecisionRecall:
        """Return up to `points` of the points, evenly spread over them, the first and the last among them."""
        count = len(self.thresholds)
        kept = np.unique(np.linspace(0, count - 1, min(points, count)).round().astype(int))
        return PrecisionRecall(*(values[kept] for values in self))


def precision_recall(positive: np.ndarray, scores: np.ndarray) -> PrecisionRecall:
    """Return the curve of N images that are of the class or not, bool (N,), with its `scores` (N,).

    A point is at every score that there is.
    """
    order = np.argsort(-scores, kind="stable")
    found, falling = np.cumsum(positive[order]), scores[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)[::-1]  # of equal scores
    with np.errstate(invalid="ignore"):
        return PrecisionRecall(falling[last], found[last] / (last + 1), found[last] / found[-1])


class Coverage(NamedTuple):
    """Share of the images whose answer has a score of `thresholds` or more, and their accuracy; float64 (T,).

    Accuracy is NaN where no image is covered.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray


def coverage_curve(confidence: np.ndarray, right: np.ndarray, thresholds: np.ndarray) -> Coverage:
    """Return the Coverage of N answers with scores `confidence` (N,) that are `right`, bool (N,), at `thresholds` (T,).

    Answers below a threshold are left to a person: selective classification (Geifman and El-Yaniv, arXiv 1705.08500).
    """
    order = np.argsort(confidence, kind="stable")
    errors = np.append(np.cumsum(~right[order][::-1])[::-1], 0)  # among the answers from each on
    first = np.searchsorted(confidence[order], thresholds)
    covered = len(confidence) - first
    with np.errstate(invalid="ignore"):
        return Coverage(thresholds, covered / len(confidence), (covered - errors[first]) / covered)


def at_accuracy(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> tuple[float, float]:
    """Return the score from which answers are right with at least `accuracy`, and the coverage; (NaN, 0) for none.

    It is the least such score that an image has, so that coverage is highest. Arguments as in `coverage_curve`.
    """
    curve = coverage_curve(confidence, right, np.unique(confidence))
    enough = np.flatnonzero(curve.accuracy >= accuracy)
    if not enough.size:
        return float("nan"), 0.0
    return float(curve.thresholds[enough[0]]), float(curve.coverage[enough[0]])
