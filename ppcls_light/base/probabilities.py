"""Probabilities in numpy: softmax, sigmoid, and how far they can be trusted (calibration)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15  # Guo et al., section 2


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of (N, K) over K."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e^-x) of each element, without overflow."""
    exponentials = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, exponentials) / (1 + exponentials)


def probabilities(logits: np.ndarray, multilabel: bool) -> np.ndarray:
    """Return the probabilities (N, K) of logits (N, K): of tags each for itself, or of one class of K."""
    return sigmoid(logits) if multilabel else softmax(logits)


class Reliability(NamedTuple):
    """Reliability diagram of B bins of confidence, equally wide (Guo et al., arXiv 1706.04599, section 2).

    edges: float64 (B + 1,) from 0 to 1; a bin has its upper edge and not its lower one, but the first has both.
    count: int64 (B,), images. confidence, accuracy: float64 (B,), means over them, NaN where there are none.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """|accuracy - confidence| of the bins with images, float64."""
        filled = self.count > 0
        return np.abs(self.accuracy[filled] - self.confidence[filled])

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of the gaps, weighted by images (equation 3 there)."""
        return float(np.average(self.gaps, weights=self.count[self.count > 0]))

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest of the gaps (equation 5 there)."""
        return float(self.gaps.max())


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the Reliability of N >= 1 answers with `confidence` (N,) in their class that are `right` (N,) or not."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = np.asarray(confidence, np.float64)
    bin_of = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = (np.bincount(bin_of, values, bins) / count for values in (confidence, right))
        return Reliability(edges, count, *means)


def wilson_interval(right: int, count: int, deviations: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share of which `right` of `count` were seen; by default it holds with 95 %.

    Wilson, "Probable inference, the law of succession, and statistical inference" (1927): unlike the normal one it
    stays within 0 and 1, and is not empty where all were right.
    """
    share, square = right / count, deviations**2 / count
    middle = (share + square / 2) / (1 + square)
    half = deviations * (share * (1 - share) / count + square / (4 * count)) ** 0.5 / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
