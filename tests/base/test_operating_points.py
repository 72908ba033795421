"""Operating points and the choice of a threshold against scikit-learn, and against cases counted by hand."""

import math

import numpy as np
import pytest

from ppcls_light.base.operating_points import Outcome, operating_points, read_rule
from ppcls_light.errors import ConfigError

# Positive images have the scores 0.9, 0.8, 0.8, 0.4, negative ones 0.8, 0.5, 0.2, 0.2, 0.1.
POSITIVE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
SCORES = np.array([0.9, 0.8, 0.8, 0.4, 0.8, 0.5, 0.2, 0.2, 0.1], np.float32)


def drawn(levels, count=400):
    rng = np.random.default_rng(levels)
    positive = rng.random(count) < 0.4
    return positive, (np.round((rng.normal(positive, 1.2) + 4) / 9 * levels) / levels).astype(np.float32)


def test_points_are_counted_by_hand():
    points = operating_points(POSITIVE, SCORES)
    assert points.scores == pytest.approx([math.inf, 0.9, 0.8, 0.5, 0.4, 0.2, 0.1])
    assert points.hits.tolist() == [0, 1, 3, 3, 4, 4, 4]
    assert points.false_alarms.tolist() == [0, 0, 1, 2, 2, 4, 5]
    # Of the 20 pairs of a positive and a negative image 5 + 4.5 + 4.5 + 3 are in order, a tie by half.
    assert points.auc == 17 / 20


@pytest.mark.parametrize("levels", [5, 40, 10**6])
def test_curves_are_scikit_learn_s(levels):
    """Of 5 levels nearly all scores are ties."""
    metrics = pytest.importorskip("sklearn.metrics")
    positive, scores = drawn(levels)
    points = operating_points(positive, scores)
    fpr, tpr, thresholds = metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(points.fpr, fpr)
    np.testing.assert_allclose(points.recall, tpr)
    np.testing.assert_allclose(points.scores, thresholds)
    assert points.auc == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(points.precision[:0:-1], precision[:-1])
    np.testing.assert_allclose(points.recall[::-1], recall)
    average = metrics.average_precision_score(positive, scores)
    assert points.average_precision == pytest.approx(average, abs=1e-12)


def test_a_side_without_images_has_no_rate():
    points = operating_points(np.zeros(3, bool), np.array([0.1, 0.3, 0.2]))
    assert np.isnan([*points.recall, points.average_precision, points.auc]).all()
    assert points.fpr == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert np.isnan(operating_points(np.ones(3, bool), np.array([0.1, 0.3, 0.2])).fpr).all()


@pytest.mark.parametrize("levels", [5, 40, 10**6])
def test_thresholds_give_just_their_points(levels):
    positive, scores = drawn(levels)
    points = operating_points(positive, scores)
    for place in range(len(points.scores)):
        threshold = points.threshold(place)
        for taken in (scores >= np.float32(threshold), scores.astype(np.float64) >= threshold):
            assert (taken & positive).sum() == points.hits[place]
            assert (taken & ~positive).sum() == points.false_alarms[place]
        assert points.outcome(threshold).hits == points.hits[place]


def test_neighbouring_floats_are_told_apart():
    upper = np.float32(0.5)
    scores = np.array([upper, np.nextafter(upper, np.float32(0))])
    assert operating_points(np.array([True, False]), scores).threshold(1) == upper


@pytest.mark.parametrize(
    ("rule", "threshold", "outcome"),
    [
        ("tpr@fpr=0", 0.85, Outcome(4, 5, 1, 0)),
        ("tpr@fpr=0.1", 0.85, Outcome(4, 5, 1, 0)),
        ("tpr@fpr=0.2", 0.65, Outcome(4, 5, 3, 1)),
        ("tpr@fpr=0.39", 0.65, Outcome(4, 5, 3, 1)),
        ("tpr@fpr=0.4", 0.3, Outcome(4, 5, 4, 2)),
        ("f1", 0.3, Outcome(4, 5, 4, 2)),  # 0.8, and 0.75 at 0.65
        ("precision=0.7", 0.65, Outcome(4, 5, 3, 1)),
        ("precision=0.8", 0.85, Outcome(4, 5, 1, 0)),
        ("recall=0.6", 0.65, Outcome(4, 5, 3, 1)),
        ("recall=1", 0.3, Outcome(4, 5, 4, 2)),
    ],
)
def test_rules_choose(rule, threshold, outcome):
    points = operating_points(POSITIVE, SCORES)
    chosen = points.threshold(read_rule(rule).place(points))
    assert chosen == pytest.approx(threshold)
    assert points.outcome(chosen) == outcome
    assert str(read_rule(rule)) == rule


def test_limits_that_counts_meet_exactly_are_met():
    """29 of 100 is 0.29, though 0.29 * 100 is below 29 in floating point."""
    points = operating_points(np.arange(101) == 50, np.linspace(1, 0, 101))
    outcome = points.outcome(points.threshold(read_rule("tpr@fpr=0.5").place(points)))
    assert (outcome.hits, outcome.false_alarms) == (1, 50)
    negatives_first = operating_points(np.arange(101) == 29, np.linspace(1, 0, 101))
    assert read_rule("tpr@fpr=0.29").place(negatives_first) == 30
    assert read_rule("tpr@fpr=0.28").place(negatives_first) == 0


def test_no_threshold_will_do():
    points = operating_points(np.array([False, True]), np.array([1.0, 0.5], np.float32))
    for rule in ("tpr@fpr=0.1", "precision=0.9"):
        place = read_rule(rule).place(points)
        assert points.outcome(points.threshold(place)) == Outcome(1, 1, 0, 0)


@pytest.mark.parametrize("text", ["", "f2", "f1=0.5", "tpr@fpr", "tpr@fpr=x", "precision=1.5", "recall=nan"])
def test_other_rules_are_refused(text):
    with pytest.raises(ConfigError, match="is no rule for a threshold; give tpr@fpr="):
        read_rule(text)
