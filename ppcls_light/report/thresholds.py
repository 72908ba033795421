"""Coverage and accuracy of all answers over a threshold of the score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
