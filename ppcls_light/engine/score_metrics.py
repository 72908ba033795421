"""Metrics of the answers to all images at once: of two classes by the score of class 1, and of tags."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict

import numpy as np

from ..base.operating_points import OperatingPoints, Rule, operating_points
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
    known, has = labels >= 0, labels > 0.5
    said = (scores > spec.threshold) & known
    right = said & has
    with np.errstate(invalid="ignore", divide="ignore"):
        has_not = known & ~has
        recall = _share(right.sum(0), has.sum(0))
        neg_recall = _share((has_not & ~said).sum(0), has_not.sum(0))
        precision = _share(right.sum(0), said.sum(0))
        # PaddleClas' F1 is of each tag's precision and the mean recall.
        f1 = _harmonic(precision, recall.mean())
        by_image = [_share(right.sum(1), other.sum(1)).mean() for other in (has | said, said, has)]
        accuracy, image_precision, image_recall = by_image
    return (
        *(float(value) for value in ((recall + neg_recall).mean() / 2, f1.mean(), recall.mean())),
        float(neg_recall.mean()),
        float(_harmonic(image_precision, image_recall)),
        *(float(value) for value in (accuracy, image_precision, image_recall)),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, 0 where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _harmonic(precision: Any, recall: Any) -> Any:
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def _mean_average_precision(spec: MultiLabelMAP, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    found = []
    for tag in range(labels.shape[1]):
        known = labels[:, tag] >= 0
        has, order = labels[known, tag] > 0.5, np.argsort(-scores[known, tag], kind="stable")
        if has.any():
            found.append(_average_precision(has[order], spec.map_type))
    return (float(np.mean(found)) if found else math.nan,)


def _average_precision(has: np.ndarray, kind: str) -> float:
    """Return the average precision of images in the order of their scores, bool (N,), the best first."""
    hits = np.cumsum(has)
    precision, recall = hits / np.arange(1, len(has) + 1), hits / hits[-1]
    if kind == "integral":
        return float(precision[has].mean())
    return float(np.mean([precision[recall >= level].max() for level in np.arange(11) / 10]))


_MEASURES: Dict[type, Callable[..., tuple[float, ...]]] = {
    TprAtFpr: _tpr_at_fpr,
    AUC: _auc,
    ATTRMetric: _attributes,
    MultiLabelMAP: _mean_average_precision,
}
