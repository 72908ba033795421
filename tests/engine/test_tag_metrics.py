"""ATTRMetric and MultiLabelMAP against cases counted by hand and against scikit-learn."""

import math
from fractions import Fraction

import numpy as np
import paddle
import pytest

from ppcls_light.config.metrics import ATTRMetric, MultiLabelMAP
from ppcls_light.engine.metrics import Metrics
from ppcls_light.engine.score_metrics import measured

# Three images, three tags; the second tag of the last image is not known.
SCORES = np.array([[0.9, 0.8, 0.1], [0.3, 0.6, 0.7], [0.8, 0.9, 0.2]])
TAGS = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 0]], np.int8)


def random_answers(ties=False):
    rng = np.random.default_rng(3)
    tags = (rng.random((60, 7)) < 0.3).astype(np.int8)
    scores = 1 / (1 + np.exp(-rng.normal(tags, 1.5)))
    return np.round(scores, 1) if ties else scores, tags


def test_attributes_are_those_counted_by_hand():
    found = measured(ATTRMetric(), SCORES, TAGS)
    # recall of those with the tag: 1 of 2, 1 of 1, none; without: 0 of 1, 0 of 1, 2 of 3
    assert found["label_pos_recall"] == pytest.approx(Fraction(1, 3) * (Fraction(1, 2) + 1))
    assert found["label_neg_recall"] == pytest.approx(Fraction(2, 9))
    assert found["ma"] == pytest.approx((0.5 + 2 / 9) / 2)
    # precision: 1 of 2, 1 of 2, 0 of 1; so F1 is 1/2, 2/3 and 0
    assert found["label_f1"] == pytest.approx(Fraction(7, 18))
    # images: 1 right of {1, 2} said and {1} had; 1 of {2, 3} and {1, 2}; none of {1} and {}
    assert found["instance_acc"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert found["instance_prec"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found["instance_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["instance_f1"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_the_threshold_is_of_the_probability_and_counts_as_reached():
    found = [measured(ATTRMetric(value), SCORES, TAGS)["label_pos_recall"] for value in (0.3, 0.300001)]
    assert found == pytest.approx([2 / 3, 0.5])


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_attributes_are_scikit_learn_s(threshold):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, tags = random_answers()
    said, found = scores >= threshold, measured(ATTRMetric(threshold), scores, tags)
    balanced = [metrics.balanced_accuracy_score(tags[:, tag], said[:, tag]) for tag in range(7)]
    assert found["ma"] == pytest.approx(np.mean(balanced))
    assert found["label_f1"] == pytest.approx(metrics.f1_score(tags, said, average="macro"))
    assert found["label_pos_recall"] == pytest.approx(metrics.recall_score(tags, said, average="macro"))
    by_image = {"average": "samples", "zero_division": 0}
    assert found["instance_acc"] == pytest.approx(metrics.jaccard_score(tags, said, **by_image))
    assert found["instance_prec"] == pytest.approx(metrics.precision_score(tags, said, **by_image))
    assert found["instance_recall"] == pytest.approx(metrics.recall_score(tags, said, **by_image))


def test_average_precision_is_that_counted_by_hand():
    # tag 0: has, has not, has in the order of the scores; tag 1 has its one image behind another; tag 2 is on no image
    assert measured(MultiLabelMAP(), SCORES, TAGS) == {"mAP": pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)}
    eleven = (6 * 1 + 5 * 2 / 3) / 11  # recalls up to 0.5 with precision 1
    assert measured(MultiLabelMAP("11point"), SCORES, TAGS) == {"mAP": pytest.approx((eleven + 1 / 2) / 2)}


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learn_s_whatever_the_order_of_images(ties):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, tags = random_answers(ties)
    expected = metrics.average_precision_score(tags, scores, average="macro")
    order = np.random.default_rng(0).permutation(len(tags))
    for answers in ((scores, tags), (scores[order], tags[order])):
        assert measured(MultiLabelMAP(), *answers)["mAP"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spec", [ATTRMetric(), MultiLabelMAP()])
def test_tags_and_images_of_which_nothing_is_known_change_nothing(spec):
    expected = measured(spec, SCORES, TAGS)
    scores, tags = np.full((4, 4), 0.9), np.full((4, 4), -1)
    scores[1:, :3], tags[1:, :3] = SCORES, TAGS
    assert measured(spec, scores, tags) == pytest.approx(expected)
    assert all(map(math.isnan, measured(spec, scores, np.full((4, 4), -1)).values()))


@pytest.mark.parametrize("spec", [ATTRMetric(), MultiLabelMAP()])
def test_a_broken_network_never_scores(spec):
    scores = SCORES.copy()
    scores[0, 0] = np.nan
    assert all(map(math.isnan, measured(spec, scores, TAGS).values()))
    assert all(map(math.isnan, Metrics([spec]).compute().values()))  # and none without images


def test_batches_and_processes_are_joined_as_one():
    scores, tags = random_answers()
    logits = np.log(scores / (1 - scores)).astype(np.float32)
    specs = [MultiLabelMAP(), ATTRMetric()]
    whole, parts = Metrics(specs), Metrics(specs)
    whole.update(paddle.to_tensor(logits), paddle.to_tensor(tags.astype(np.float32)))
    for start in range(0, 60, 7):
        part = slice(start, start + 7)
        parts.update(paddle.to_tensor(logits[part]), paddle.to_tensor(tags[part].astype(np.float32)))
    assert parts.compute() == whole.compute()
    expected = {**measured(specs[0], scores, tags), **measured(specs[1], scores, tags)}
    assert list(whole.compute()) == list(expected)
    assert whole.compute() == pytest.approx(expected, rel=1e-5)
    assert whole.running() == {}
