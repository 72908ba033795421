"""The distillation losses against the same formulas in numpy."""

import numpy as np
import paddle
import pytest

from ppcls_light.config import losses
from ppcls_light.engine.losses import build_loss
from ppcls_light.errors import ConfigError

PAIRS = [("Student", "Teacher")]
RNG = np.random.default_rng(0)
STUDENT, TEACHER = (RNG.normal(scale=3, size=(6, 4)) for _ in range(2))
LABELS = RNG.integers(0, 4, 6)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def divergence(p, q):
    return (p * np.log(p / q)).sum(axis=1).mean()


def value(*specs, labels=LABELS, tag_shares=None):
    outputs = {
        name: paddle.to_tensor(a, "float32") for name, a in (("Student", STUDENT), ("Teacher", TEACHER))
    }
    total, parts = build_loss(specs, "Student", ["Teacher"], tag_shares)(outputs, paddle.to_tensor(labels))
    assert float(total) == float(parts["loss"])
    return float(total)


def test_soft_labels_of_the_teacher():
    expected = -(softmax(TEACHER) * np.log(softmax(STUDENT))).sum(axis=1).mean()
    assert value(losses.DistillationCELoss(1.0, PAIRS)) == pytest.approx(expected, rel=1e-5)


def test_hard_labels_of_the_teacher():
    expected = -np.log(softmax(STUDENT)[np.arange(6), TEACHER.argmax(axis=1)]).mean()
    loss = losses.DistillationCELoss(0.5, PAIRS, hard_label=True)
    assert value(loss) == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softened_divergence(temperature):
    expected = temperature**2 * divergence(softmax(TEACHER / temperature), softmax(STUDENT / temperature))
    loss = losses.DistillationKLDivLoss(2.0, PAIRS, temperature)
    assert value(loss) == pytest.approx(2 * expected, rel=1e-5)


def test_mutual_learning_is_symmetric():
    p, q = softmax(STUDENT), softmax(TEACHER)
    expected = (divergence(p, q) + divergence(q, p)) / 2
    assert value(losses.DistillationDMLLoss(1.0, PAIRS)) == pytest.approx(expected, rel=1e-5)
    assert value(losses.DistillationDMLLoss(1.0, [("Teacher", "Student")])) == pytest.approx(
        expected, rel=1e-5
    )


def test_mutual_learning_of_tags():
    """PaddleClas' divergence for tags: of each sigmoid p log(p / q) alone, without that of 1 - p."""
    p, q = (1 / (1 + np.exp(-a)) for a in (STUDENT, TEACHER))
    terms = (p * np.log(p / q) + q * np.log(q / p)) / 2
    assert value(losses.DistillationDMLLoss(1.0, PAIRS, act="sigmoid")) == pytest.approx(
        terms.sum(axis=1).mean(), rel=1e-5
    )
    # As Li et al. (DeepMAR, ACPR 2015) weigh attributes: e^(1 - share) where it is there, e^share where not.
    tags = np.array([[1, 0, -1, 1], [0, 0, 1, -1], *[[1, 1, 0, 0]] * 4], "float32")
    shares = np.array([0.1, 0.5, 0.9, 0.3])
    factors = np.exp(np.where(tags == 1, 1 - shares, shares)) * (tags >= 0)
    weighted = losses.DistillationDMLLoss(1.0, PAIRS, act="sigmoid", weight_ratio=True)
    found = value(weighted, labels=tags, tag_shares=shares.astype("float32"))
    assert found == pytest.approx((terms * factors).sum(axis=1).mean(), rel=1e-5)


def test_older_recipes_count_a_divergence_once_a_class():
    plain = value(losses.DistillationDMLLoss(1.0, PAIRS))
    scaled = value(losses.DistillationDMLLoss(1.0, PAIRS, sum_across_class_dim=True))
    assert scaled == pytest.approx(4 * plain, rel=1e-6)


@pytest.mark.parametrize(
    ("act", "prepared"),
    [(None, lambda a: a), ("softmax", softmax), ("sigmoid", lambda a: 1 / (1 + np.exp(-a)))],
)
def test_distance_of_logits(act, prepared):
    expected = ((prepared(STUDENT) - prepared(TEACHER)) ** 2).mean()
    assert value(losses.DistillationDistanceLoss(1.0, PAIRS, act=act)) == pytest.approx(expected, rel=1e-5)


def test_half_precision_maps_are_compared_in_single():
    """Under AMP: 300 squared is beyond float16."""
    maps = {
        name: {"map": paddle.full([1, 2, 2, 2], a, "float16")}
        for name, a in (("Student", 300), ("Teacher", 0))
    }
    loss = losses.DistillationDistanceLoss(1.0, PAIRS, key="map")
    total, _ = build_loss([loss], "Student", ["Teacher"])(maps, paddle.to_tensor(LABELS))
    assert float(total) == 90000.0


def test_hard_and_soft_distillation_beside_the_labels():
    """(1 - alpha) * cross entropy with the labels + alpha * distillation, as FasterNet's training code mixes them."""
    own = -np.log(softmax(STUDENT)[np.arange(6), LABELS]).mean()
    soft = 9.0 * divergence(softmax(TEACHER / 3), softmax(STUDENT / 3))
    both = losses.CELoss(0.3), losses.DistillationKLDivLoss(0.7, PAIRS, 3.0)
    assert value(*both) == pytest.approx(0.3 * own + 0.7 * soft, rel=1e-5)


def test_labels_for_both_networks_smoothed():
    target = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    expected = -sum((target * np.log(softmax(a))).sum(axis=1).mean() for a in (STUDENT, TEACHER))
    loss = losses.DistillationGTCELoss(1.0, ["Student", "Teacher"], epsilon=0.1)
    assert value(loss) == pytest.approx(expected, rel=1e-5)


def test_mixed_labels_count_by_share():
    shares = softmax(RNG.normal(size=(6, 4))).astype("float32")
    expected = -(shares * np.log(softmax(STUDENT))).sum(axis=1).mean()
    assert value(losses.CELoss(1.0), labels=shares) == pytest.approx(expected, rel=1e-5)


def test_networks_that_are_not_there():
    with pytest.raises(ConfigError, match=r"no logits of 'Teacher' here, but those of Student"):
        build_loss([losses.DistillationCELoss(1.0, PAIRS)], "Student")
    with pytest.raises(
        ConfigError, match=r"no logits of 'Student' here, for it takes Arch\.name: Distillation"
    ):
        build_loss([losses.DistillationGTCELoss(1.0, ["Student"])])


@pytest.mark.parametrize(
    "loss",
    [
        losses.DistillationGTCELoss(1.0, []),
        losses.DistillationCELoss(1.0, []),
        losses.DistillationKLDivLoss(1.0, []),
        losses.DistillationDMLLoss(1.0, []),
    ],
)
def test_a_loss_of_no_network_is_refused(loss):
    name = type(loss).__name__
    with pytest.raises(
        ConfigError, match=rf"^Loss: {name}: it names no network, .*; name some, or leave it out$"
    ):
        build_loss([losses.CELoss(1.0), loss], "Student", ["Teacher"])
