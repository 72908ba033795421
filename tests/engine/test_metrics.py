"""Top-k accuracy against a stable sort in numpy."""

import numpy as np
import paddle
import pytest

from ppcls_light.config.metrics import TopkAcc
from ppcls_light.engine.metrics import Metrics, TopkAccuracy, warn_of_trivial


def update(metric, logits, labels):
    metric.update(
        paddle.to_tensor(np.asarray(logits, np.float32)), paddle.to_tensor(np.asarray(labels, np.int64))
    )


def by_hand(logits, labels, k):
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(axis=1).mean()


@pytest.mark.parametrize("levels", [10**6, 3])
def test_equals_a_stable_sort_over_uneven_batches(levels):
    """With 3 levels nearly every row has ties."""
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(0, levels, (53, 7)).astype(np.float32), rng.integers(0, 7, 53)
    metric = TopkAccuracy([1, 3, 5])
    for start in (0, 20, 40):
        update(metric, logits[start : start + 20], labels[start : start + 20])
    assert metric.compute() == {f"top{k}": by_hand(logits, labels, k) for k in (1, 3, 5)}


def test_nan_never_scores():
    metric = TopkAccuracy([1, 2])
    nan = float("nan")
    update(metric, [[nan, nan, nan], [nan, 1, 0], [nan, 1, 0]], [0, 0, 1])
    assert metric.compute() == {"top1": 0.0, "top2": 1 / 3}


def test_k_from_the_classes_on_is_one_and_named_once(caplog):
    metric = TopkAccuracy([1, 2, 5])
    update(metric, [[1, 2], [1, 2]], [0, 1])
    update(metric, [[1, 2]], [0])
    assert metric.compute() == {"top1": 1 / 3, "top2": 1.0, "top5": 1.0}
    assert not caplog.records
    warn_of_trivial([TopkAcc([1, 2]), TopkAcc(5), TopkAcc([5])], 2)
    warn_of_trivial([TopkAcc([1, 2])], 3)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "top2, top5 of 2 classes is always 1.0"
    ]


def test_totals_join_processes():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(30, 6)).astype(np.float32), rng.integers(0, 6, 30)
    whole, ranks = TopkAccuracy([1, 2]), [TopkAccuracy([1, 2]) for _ in range(3)]
    update(whole, logits, labels)
    for rank, metric in enumerate(ranks):
        update(metric, logits[rank::3], labels[rank::3])
    ranks[0].load(sum(metric.totals() for metric in ranks))
    assert ranks[0].compute() == whole.compute()
    np.testing.assert_array_equal(ranks[0].totals(), whole.totals())


def test_without_images_there_is_no_accuracy():
    metric = TopkAccuracy([1])
    assert np.isnan(metric.compute()["top1"])
    update(metric, [[1, 0]], [0])
    assert metric.compute() == {"top1": 1.0}


def test_metrics_keep_each_k_once_in_order():
    metrics = Metrics([TopkAcc([5, 1]), TopkAcc(3), TopkAcc([1])])
    assert metrics.accuracy.ks == (5, 1, 3)
    update(metrics, [[3, 2, 1, 0, 0, 0], [0, 0, 1, 2, 3, 4]], [0, 2])
    assert metrics.compute() == metrics.running() == {"top5": 1.0, "top1": 0.5, "top3": 0.5}
