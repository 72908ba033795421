"""Metrics of the answers to all images at once: of two classes by the score of class 1, and of tags."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict

import numpy as np

from ..config.metrics import AUC, ATTRMetric, MultiLabelMAP, TprAtFpr


def measured(spec: Any, scores: np.ndarray, labels: np.ndarray) -> Dict[str, float]:
    """Return {result: value} of the metric `spec`.

    `scores` are probabilities (N, K); `labels` class indices (N,), -1 of images that do not count, or tags (N, K), 1,
    0 and -1 of those that are not known. NaN where no image counts.
    """
    return dict(zip(spec.result_names, _MEASURES[type(spec)](spec, scores, labels)))


def _two_sides(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of class 1 of the positive images and of the negative ones, float64, sorted."""
    score = scores[:, 1].astype(np.float64)
    return np.sort(score[labels == 1]), np.sort(score[labels == 0])


def _tpr_at_fpr(spec: TprAtFpr, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    positive, negative = _two_sides(scores, labels)
    if not (positive.size and negative.size):
        return math.nan, math.nan, math.nan
    # The least threshold that so few negatives exceed is one of their own scores, or 0 where all may.
    allowed = math.floor(spec.max_fpr * negative.size)
    threshold = negative[negative.size - allowed - 1]
    return (
        float((positive > threshold).mean()),
        float((negative > threshold).mean()),
        float(threshold),
    )


def _auc(spec: AUC, scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    positive, negative = _two_sides(scores, labels)
    if not (positive.size and negative.size):
        return (math.nan,)
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return (float(below.sum() / 2 / positive.size / negative.size),)


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
