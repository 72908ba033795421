"""Coverage and accuracy over a threshold against counting."""

import numpy as np
import pytest

from ppcls_light.report.thresholds import at_accuracy, coverage_curve


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
