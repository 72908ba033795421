"""Suspected label errors by confident learning (Northcutt et al., arXiv 1911.00068).

The package cleanlab has the same method. It needs Python 3.10, pandas and scikit-learn for what are four sums over
probabilities, so they stand here; the tests compare them with cleanlab's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Suspects(NamedTuple):
    """Images whose labels are suspected, the most suspicious first.

    indices: int64 (S,). margin: float64 (S,), the probability of the label less that of the most likely class, the
    "normalized margin" of section 3.2; it is negative, and -1 at most suspicious.
    """

    indices: np.ndarray
    margin: np.ndarray


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return int64 (K, K): numbers of images with the row's label that confidently are of the column's class.

    `labels` are int (N,), `probabilities` (N, K). An image is confidently of the most probable class among those whose
    probability is no less than their threshold, the mean of that probability over the images with that label
    (equations 1 and 2). Classes without images have none.
    """
    class_num = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    support = np.bincount(labels, minlength=class_num)
    sums = np.bincount(labels, own, class_num)
    thresholds = np.where(support > 0, sums / np.maximum(support, 1), np.inf)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = reached.max(axis=1) >= 0
    cells = labels[confident] * class_num + reached[confident].argmax(axis=1)
    return np.bincount(cells, minlength=class_num**2).reshape(class_num, class_num)


def estimated_joint(labels: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return float64 (K, K): estimated numbers of images with the row's label that truly are of the column's class.

    The rows of a confident `joint` (K, K) are scaled to the images with that label (equation 3, times N).
    """
    support = np.bincount(labels, minlength=len(joint))
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * support[:, None]


def suspected_errors(labels: np.ndarray, probabilities: np.ndarray) -> Suspects:
    """Return the images that both ways of pruning by rank suspect (section 3.2, "C+NR"), and that are called otherwise.

    `labels` are int (N,), `probabilities` (N, K). These should be of images that the network has not learned, for one
    that has learned a wrong label repeats it. By class: of each label as many images as are estimated to be of other
    classes, those with the least probability of the label. By noise rate: of each label and other class as many as are
    estimated, those with the largest margin between them.
    """
    estimated = estimated_joint(labels, confident_joint(labels, probabilities))
    by_class, by_rate = (np.zeros(len(labels), bool) for _ in range(2))
    for label in range(len(estimated)):
        members = np.flatnonzero(labels == label)
        rows = probabilities[members]
        others = np.rint(estimated[label]).astype(int)
        others[label] = 0
        wrong = round(float(estimated[label].sum() - estimated[label, label]))
        by_class[members[np.argsort(rows[:, label], kind="stable")[:wrong]]] = True
        for other in np.flatnonzero(others):
            margin = rows[:, label] - rows[:, other]
            by_rate[members[np.argsort(margin, kind="stable")[: others[other]]]] = True
    margins = probabilities[np.arange(len(labels)), labels] - probabilities.max(axis=1)
    found = np.flatnonzero(by_class & by_rate & (margins < 0))
    order = found[np.argsort(margins[found], kind="stable")]
    return Suspects(order, margins[order].astype(np.float64))
