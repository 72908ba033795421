"""TprAtFpr and AUC against cases counted by hand; the curves themselves are in tests/base/test_operating_points.py."""

import math

import numpy as np
import pytest

from ppcls_light.config.metrics import AUC, TprAtFpr
from ppcls_light.engine.score_metrics import measured

SCORES = np.array([0.9, 0.8, 0.8, 0.4, 0.8, 0.5, 0.2, 0.2, 0.1, 0.99], np.float32)
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, -1])  # the last image does not count


def both(scores):
    return np.stack([1 - scores, scores], axis=1)


@pytest.mark.parametrize(
    ("max_fpr", "tpr", "fpr"), [(0.001, 0.25, 0.0), (0.2, 0.75, 0.2), (0.4, 1.0, 0.4), (0.9, 1.0, 0.4)]
)
def test_tpr_at_fpr_and_the_threshold_that_gives_it(max_fpr, tpr, fpr):
    found = measured(TprAtFpr(max_fpr), both(SCORES), LABELS)
    assert (found["tpr"], found["fpr"]) == (tpr, fpr)
    taken = found["threshold"] <= SCORES
    assert taken[LABELS == 1].mean() == tpr
    assert taken[LABELS == 0].mean() == fpr


def test_auc_counts_ties_by_half():
    assert measured(AUC(), both(SCORES), LABELS) == {"auc": 17 / 20}
    assert measured(AUC(), both(np.full(10, 0.3)), LABELS) == {"auc": 0.5}


@pytest.mark.parametrize("labels", [np.zeros(10, int), np.ones(10, int), np.full(10, -1)])
def test_one_side_alone_has_no_number(labels):
    found = {**measured(TprAtFpr(), both(SCORES), labels), **measured(AUC(), both(SCORES), labels)}
    assert list(found) == ["tpr", "fpr", "threshold", "auc"]
    assert all(map(math.isnan, found.values()))
