"""Thresholds of a score: the outcome of each of them on labelled images, and the choice of one by a rule.

One convention everywhere: an image is taken for positive where its score is the threshold or more.
"""

from __future__ import annotations

import math
from typing import Iterator, NamedTuple

import numpy as np

from ..errors import ConfigError

RULES = "tpr@fpr=0.001, f1, precision=0.95 or recall=0.9"
_LIMITED = ("tpr@fpr", "precision", "recall")


class Outcome(NamedTuple):
    """Outcome of a threshold on labelled images; shares are NaN where there is nothing to divide by."""

    positives: int
    negatives: int
    hits: int  # positive images that are taken for positive
    false_alarms: int  # negative ones that are

    @property
    def tpr(self) -> float:
        """Share of the positive images that are found: recall."""
        return _share(self.hits, self.positives)

    @property
    def fpr(self) -> float:
        """Share of the negative images that are taken for positive."""
        return _share(self.false_alarms, self.negatives)

    @property
    def precision(self) -> float:
        """Share of positive images among those that are taken for positive."""
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.hits, self.hits + self.false_alarms + self.positives)


class OperatingPoints(NamedTuple):
    """Images that score at least so much, at each score that there is; arrays are (P + 1,), scores fall.

    The first score is infinity, which no image has. hits and false_alarms are int64 numbers of positive and of
    negative images.
    """

    scores: np.ndarray
    hits: np.ndarray
    false_alarms: np.ndarray

    @property
    def positives(self) -> int:
        return int(self.hits[-1])

    @property
    def negatives(self) -> int:
        return int(self.false_alarms[-1])

    @property
    def recall(self) -> np.ndarray:
        """float64 (P + 1,): the true positive rate; NaN without positive images."""
        return _shares(self.hits, np.array(self.positives))

    @property
    def fpr(self) -> np.ndarray:
        """float64 (P + 1,): the false positive rate; NaN without negative images."""
        return _shares(self.false_alarms, np.array(self.negatives))

    @property
    def precision(self) -> np.ndarray:
        """float64 (P + 1,): NaN at first, where no image is taken for positive."""
        return _shares(self.hits, self.hits + self.false_alarms)

    @property
    def f1(self) -> np.ndarray:
        return _shares(2 * self.hits, self.hits + self.false_alarms + self.positives)

    @property
    def auc(self) -> float:
        """Area under the ROC curve: a positive image scores above a negative one with this probability.

        Equal scores count by half. NaN where a side has no image.
        """
        trapezoids = np.diff(self.false_alarms) * (self.hits[1:] + self.hits[:-1])
        return _share(int(trapezoids.sum()), 2 * self.positives * self.negatives)

    @property
    def average_precision(self) -> float:
        """Sum of the precisions, each times the recall gained at its score: scikit-learn's, not interpolated."""
        return float((np.diff(self.recall) * self.precision[1:]).sum())

    def threshold(self, place: int) -> float:
        """Return the threshold of the point at `place`: halfway from its score to the next lower one.

        Halfway, an export, whose probabilities differ in the sixth digit, still gives the same answers. It is a
        float32: comparisons in single and in double precision agree.
        """
        if not place:
            return float(np.nextafter(np.float32(self.scores[1]), np.float32(np.inf)))
        score = float(self.scores[place])
        lower = float(self.scores[place + 1]) if place + 1 < len(self.scores) else 0.0
        middle = float(np.float32((score + lower) / 2))
        return middle if lower < middle <= score else score

    def outcome(self, threshold: float) -> Outcome:
        """Return the outcome of any threshold."""
        place = int(np.searchsorted(-self.scores, -threshold, side="right")) - 1
        return Outcome(self.positives, self.negatives, int(self.hits[place]), int(self.false_alarms[place]))

    def rows(self) -> Iterator[tuple[float, float, float]]:
        """Yield (score, precision, recall) of each score that there is, the lowest first."""
        yield from zip(*(values[:0:-1].tolist() for values in (self.scores, self.precision, self.recall)))

    def thinned(self, points: int) -> OperatingPoints:
        """Return up to `points` of the points, evenly spread over them, the first and the last among them."""
        count = len(self.scores)
        kept = np.unique(np.linspace(0, count - 1, min(points, count)).round().astype(int))
        return OperatingPoints(*(values[kept] for values in self))


def operating_points(positive: np.ndarray, scores: np.ndarray) -> OperatingPoints:
    """Return the points of N images that are positive or not, bool (N,), with `scores` (N,), no NaN."""
    order = np.argsort(-scores, kind="stable")
    falling, found = scores[order].astype(np.float64), np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(falling), 1)[: len(falling)])  # of equal scores
    hits = np.append(0, found[last])
    return OperatingPoints(np.append(np.inf, falling[last]), hits, np.append(0, last + 1) - hits)


def points_of_tags(labels: np.ndarray, scores: np.ndarray) -> list[OperatingPoints]:
    """Return the points of each tag over the images of which it is known.

    `labels` (N, K) are 1 where an image has the tag, 0 where not, and -1 where that is not known; `scores` are (N, K).
    """
    return [operating_points(own[own >= 0] == 1, score[own >= 0]) for own, score in zip(labels.T, scores.T)]


class Rule(NamedTuple):
    """Rule by which a threshold is chosen; f1 has no `limit`.

    tpr@fpr: highest recall at no more than that false positive rate. precision: highest recall with at least that
    precision. recall: highest precision with at least that recall. f1: highest F1. Of equal ones the highest threshold.
    """

    kind: str
    limit: float = math.nan

    def __str__(self) -> str:
        return self.kind if self.kind == "f1" else f"{self.kind}={self.limit:g}"

    def place(self, points: OperatingPoints) -> int:
        """Return the place of the chosen point; 0, where nothing is taken for positive, when no other will do."""
        with np.errstate(invalid="ignore"):
            allowed, best = {
                "tpr@fpr": (points.fpr <= self.limit, points.recall),
                "precision": (points.precision >= self.limit, points.recall),
                "recall": (points.recall >= self.limit, points.precision),
                "f1": (points.hits > 0, points.f1),
            }[self.kind]
        return int(np.where(allowed & (points.hits > 0), best, 0.0).argmax())


def read_rule(text: str) -> Rule:
    """Return the Rule of a text such as those of `RULES`. Raises ConfigError: it is none."""
    kind, separator, number = text.partition("=")
    if kind == "f1" and not separator:
        return Rule(kind)
    try:
        rule = Rule(kind, float(number))
    except ValueError:
        rule = Rule(kind)
    if kind not in _LIMITED or not 0 <= rule.limit <= 1:
        raise ConfigError(f"'{text}' is no rule for a threshold; give {RULES}, limits from 0 to 1")
    return rule


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return part / whole
