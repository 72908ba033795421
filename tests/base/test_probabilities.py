"""Softmax and calibration against scipy's and scikit-learn's."""

import numpy as np
import pytest
import scipy.special
from sklearn.calibration import calibration_curve

from ppcls_light.base.probabilities import reliability, softmax, wilson_interval


def test_softmax_is_scipys():
    logits = np.random.default_rng(0).normal(0, 300, (20, 7))
    np.testing.assert_allclose(softmax(logits), scipy.special.softmax(logits, axis=1), atol=1e-15)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_diagram_is_scikit_learns(bins):
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(400) ** 0.3, np.linspace(0, 1, bins + 1)])  # edges, too
    right = rng.random(len(confidence)) < 0.8 * confidence
    diagram = reliability(confidence, right, bins)
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins)
    filled = diagram.count > 0
    np.testing.assert_allclose(diagram.accuracy[filled], accuracy)
    np.testing.assert_allclose(diagram.confidence[filled], mean)
    assert diagram.count.sum() == len(confidence)
    edges = diagram.edges
    by_hand = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high) if low else confidence <= high
        if inside.any():
            by_hand += abs(right[inside].sum() - confidence[inside].sum()) / len(confidence)
    assert diagram.ece == pytest.approx(by_hand)
    assert diagram.mce == pytest.approx(np.abs(accuracy - mean).max())


def test_empty_bins_are_no_numbers_and_count_nothing():
    diagram = reliability(np.array([0.95, 0.95]), np.array([True, False]), 10)
    assert diagram.count.tolist() == [0] * 9 + [2]
    assert np.isnan(diagram.accuracy[:9]).all()
    assert diagram.ece == diagram.mce == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (430, 600, 0.67932, 0.75126)],
)
def test_the_wilson_interval_is_that_of_scipy(right, count, low, high):
    """Values of scipy.stats.binomtest(right, count).proportion_ci(method="wilson")."""
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=6e-5)
