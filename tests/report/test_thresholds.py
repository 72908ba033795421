"""Curves over a threshold against scikit-learn's, and against counting."""

import numpy as np
import pytest
from sklearn import metrics

from ppcls_light.report.thresholds import at_accuracy, coverage_curve, precision_recall


@pytest.mark.parametrize("digits", [2, 12])  # many equal scores, none
def test_precision_and_recall_are_scikit_learns(digits):
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.2
    scores = np.round(rng.random(300) + 0.3 * positive, digits)
    curve = precision_recall(positive, scores)
    precision, recall, thresholds = metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.precision, precision[:-1])
    np.testing.assert_allclose(curve.recall, recall[:-1])
    assert curve.average_precision == pytest.approx(metrics.average_precision_score(positive, scores))


def test_a_class_without_images_has_no_recall():
    curve = precision_recall(np.zeros(3, bool), np.array([0.1, 0.3, 0.2]))
    assert np.isnan(curve.average_precision)
    assert curve.precision.tolist() == [0, 0, 0]


def test_coverage_and_accuracy_are_counted():
    rng = np.random.default_rng(1)
    confidence = np.round(rng.random(200), 2)
    right = rng.random(200) < confidence
    curve = coverage_curve(confidence, right, np.linspace(0, 1, 41))
    for threshold, coverage, accuracy in zip(*curve):
        kept = confidence >= threshold
        assert coverage == pytest.approx(kept.mean())
        assert np.isnan(accuracy) if not kept.any() else accuracy == pytest.approx(right[kept].mean())
    threshold, coverage = at_accuracy(confidence, right, 0.9)
    kept = confidence >= threshold
    assert coverage == kept.mean()
    assert right[kept].mean() >= 0.9
    lower = confidence[confidence < threshold]
    assert all(right[confidence >= other].mean() < 0.9 for other in lower)
    none = at_accuracy(np.array([0.5]), np.array([False]), 0.9)
    assert np.isnan(none[0])
    assert none[1] == 0
