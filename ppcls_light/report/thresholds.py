"""Thresholds of a score: coverage and accuracy of all answers, and the operating points of class 1 of two."""

from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

from ..base.operating_points import OperatingPoints

ROC_COLUMNS = ("threshold", "tpr", "fpr", "precision", "positives_found", "negatives_taken")


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


class TwoClasses(NamedTuple):
    """Class 1 of two, called `name`: its operating points, and the threshold from which an image is taken for it."""

    name: str
    points: OperatingPoints
    threshold: float

    @property
    def summary(self) -> dict[str, float]:
        outcome = self.points.outcome(self.threshold)
        return {"auc": self.points.auc, "threshold": self.threshold, "tpr": outcome.tpr, "fpr": outcome.fpr}

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Yield a row of `ROC_COLUMNS` for each operating point, the lowest threshold first."""
        points = self.points
        shares = (points.recall, points.fpr, points.precision)
        columns = (points.scores, *shares, points.hits, points.false_alarms)
        yield from zip(*(values[:0:-1].tolist() for values in columns))
