"""Metrics of the answers to all images at once: of two classes by the score of class 1, and of tags."""

from __future__ import annotations

import math
import operator
from typing import Any, Callable, Dict

import numpy as np

from ..base.operating_points import OperatingPoints, Rule, operating_points, points_of_tags
from ..config.metrics import AUC, ATTRMetric, MultiLabelMAP, TprAtFpr


def measured(spec: Any, scores: np.ndarray, labels: np.ndarray) -> Dict[str, float]:
    """Return {result: value} of the metric `spec`.

    `scores` are probabilities (N, K); `labels` class indices (N,), -1 of images that do not count, or tags (N, K), 1,
    0 and -1 of those that are not known. NaN where no image counts.
    """
    return dict(zip(spec.result_names, _MEASURES[type(spec)](spec, scores, labels)))


def _points(scores: np.ndarray, labels: np.ndarray) -> OperatingPoints | None:
    """Return the points of class 1's scores; None where a side has no image, or an answer is no number."""
    counted = labels >= 0
    positive, score = labels[counted] == 1, scores[counted, 1]
    if positive.all() or not positive.any() or not np.isfinite(score).all():
        return None
    return operating_points(positive, score)


def _tpr_at_fpr(spec: TprAtFpr, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    points = _points(scores, labels)
    if points is None:
        return math.nan, math.nan, math.nan
    threshold = points.threshold(Rule("tpr@fpr", spec.max_fpr).place(points))
    outcome = points.outcome(threshold)
    return outcome.tpr, outcome.fpr, threshold


def _auc(spec: AUC, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    points = _points(scores, labels)
    return (math.nan if points is None else points.auc,)


def _attributes(spec: ATTRMetric, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    known = labels >= 0
    if not (np.isfinite(scores).all() and known.any()):
        return (math.nan,) * len(spec.result_names)
    counted = np.ix_(known.any(axis=1), known.any(axis=0))
    scores, labels, known = scores[counted], labels[counted], known[counted]
    has = labels == 1
    said = (scores >= spec.threshold) & known
    right, has_not = said & has, known & ~has
    recall = _shares(right.sum(0), has.sum(0))
    neg_recall = _shares((has_not & ~said).sum(0), has_not.sum(0))
    # Of each tag's own recall; PaddleClas takes the mean of all recalls with each tag's precision.
    f1 = _shares(2 * right.sum(0), said.sum(0) + has.sum(0))
    accuracy, precision, image_recall = (
        _shares(right.sum(1), other.sum(1)).mean() for other in (has | said, said, has)
    )
    image_f1 = _shares(2 * precision * image_recall, precision + image_recall)
    means = ((recall + neg_recall).mean() / 2, f1.mean(), recall.mean(), neg_recall.mean())
    return tuple(map(float, (*means, image_f1, accuracy, precision, image_recall)))


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _mean_average_precision(spec: MultiLabelMAP, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    if not np.isfinite(scores).all():
        return (math.nan,)
    points = [points for points in points_of_tags(labels, scores) if points.positives]
    average = _at_eleven_recalls if spec.map_type == "11point" else operator.attrgetter("average_precision")
    return (float(np.mean([average(each) for each in points])) if points else math.nan,)


def _at_eleven_recalls(points: OperatingPoints) -> float:
    """Return the mean over the recalls 0, 0.1, ..., 1 of the best precision at that recall or more."""
    recall, precision = points.recall[1:], points.precision[1:]
    return float(np.mean([precision[recall >= level].max() for level in np.arange(11) / 10]))


_MEASURES: Dict[type, Callable[..., tuple[float, ...]]] = {
    TprAtFpr: _tpr_at_fpr,
    AUC: _auc,
    ATTRMetric: _attributes,
    MultiLabelMAP: _mean_average_precision,
}
