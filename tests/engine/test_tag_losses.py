"""The losses of tags against their formulas in numpy, on numbers that a person can follow."""

import math

import numpy as np
import paddle
import pytest

from ppcls_light.config.losses import (
    DistillationMultiLabelLoss,
    MultiLabelAsymmetricLoss,
    MultiLabelLoss,
)
from ppcls_light.engine.losses import build_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(6, 4))
TAGS = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0.3, 0.7, 1, 0], [1, 0, 1, 0]])
SHARES = np.array([0.5, 0.1, 0.6, 0.9])
P = 1 / (1 + np.exp(-LOGITS))


def value(spec, tags=TAGS, logits=LOGITS, shares=SHARES):
    total, parts = build_loss([spec], tag_shares=shares)(
        paddle.to_tensor(logits, "float32"), paddle.to_tensor(tags, "float32")
    )
    assert float(total) == float(parts[type(spec).__name__])
    return float(total)


def entropies(tags):
    return -(tags * np.log(P) + (1 - tags) * np.log(1 - P))


def with_unknown(place):
    tags = TAGS.copy()
    tags[place] = -1
    return tags


def test_one_tag_by_hand():
    # log(1 + e^-1) of a tag that is there, log(1 + e^1) of one that is not
    has, has_not = (value(MultiLabelLoss(1.0), [[tag]], [[1.0]]) for tag in (1, 0))
    assert has == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)
    assert has_not == pytest.approx(math.log1p(math.e), rel=1e-6)


def test_binary_cross_entropy_is_the_mean_over_tags_or_their_sum():
    assert value(MultiLabelLoss(2.0)) == pytest.approx(2 * entropies(TAGS).mean(), rel=1e-5)
    expected = entropies(TAGS).sum(axis=1).mean()
    assert value(MultiLabelLoss(1.0, size_sum=True)) == pytest.approx(expected, rel=1e-5)


def test_epsilon_mixes_one_kth_into_each_tag():
    expected = entropies(0.8 * TAGS + 0.2 / 4).mean()
    assert value(MultiLabelLoss(1.0, epsilon=0.2)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("epsilon", [None, 0.2])
def test_rare_tags_weigh_more_where_they_are_and_less_where_not(epsilon):
    weights = np.where(TAGS > 0.5, np.exp(1 - SHARES), np.exp(SHARES))
    target = TAGS if epsilon is None else 0.8 * TAGS + 0.2 / 4
    spec = MultiLabelLoss(1.0, epsilon, size_sum=True, weight_ratio=True)
    assert value(spec) == pytest.approx((weights * entropies(target)).sum(axis=1).mean(), rel=1e-5)


def test_the_asymmetric_loss_is_that_of_its_paper():
    shifted = np.maximum(P - 0.05, 0)  # equation 5; p_m is then in both factors, equations 6 and 7
    terms = -TAGS * (1 - P) ** 1 * np.log(P) - (1 - TAGS) * shifted**4 * np.log(1 - shifted)
    hard = np.isin(TAGS, (0, 1))  # a mixed tag has one probability for both sides here
    spec = MultiLabelAsymmetricLoss(1.0)
    assert value(spec, np.where(hard, TAGS, -1)) == pytest.approx(terms[hard].sum(), rel=1e-5)
    mean = value(MultiLabelAsymmetricLoss(1.0, reduction="mean"), np.where(hard, TAGS, -1))
    assert mean == pytest.approx(terms[hard].sum() / TAGS.size, rel=1e-5)


def test_without_focus_and_margin_the_asymmetric_loss_is_binary_cross_entropy():
    tags = np.round(TAGS)
    spec = MultiLabelAsymmetricLoss(1.0, gamma_pos=0.0, gamma_neg=0.0, clip=0.0, reduction="mean")
    assert value(spec, tags) == pytest.approx(value(MultiLabelLoss(1.0), tags), rel=1e-5)


@pytest.mark.parametrize("constant", [True, False])
def test_the_focus_takes_part_in_the_gradient_on_request(constant):
    x = paddle.to_tensor([[0.4]], stop_gradient=False)
    spec = MultiLabelAsymmetricLoss(1.0, disable_focal_loss_grad=constant)
    build_loss([spec])(x, paddle.to_tensor([[1.0]]))[0].backward()
    p = 1 / (1 + math.exp(-0.4))
    # of -(1 - p) log p by p: log p - (1 - p) / p; the factor's own part is log p
    by_p = -(1 - p) / p if constant else math.log(p) - (1 - p) / p
    assert x.grad.item() == pytest.approx(by_p * p * (1 - p), rel=1e-5)


def test_the_focus_of_a_sure_answer_has_a_gradient():
    x = paddle.to_tensor([[40.0, -40.0]], stop_gradient=False)
    spec = MultiLabelAsymmetricLoss(1.0, gamma_pos=0.5, gamma_neg=0.5, disable_focal_loss_grad=False)
    build_loss([spec])(x, paddle.to_tensor([[1.0, 0.0]]))[0].backward()
    assert x.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    "spec",
    [
        MultiLabelLoss(1.0),
        MultiLabelLoss(1.0, epsilon=0.1, size_sum=True, weight_ratio=True),
        MultiLabelAsymmetricLoss(1.0),
        DistillationMultiLabelLoss(1.0, model_names=["Student"]),
    ],
)
def test_tags_that_are_not_known_teach_nothing(spec):
    tags = with_unknown((2, 1))
    gradients = []
    for logit in (-7.0, 7.0):
        logits = LOGITS.copy()
        logits[2, 1] = logit
        x = paddle.to_tensor(logits, "float32", stop_gradient=False)
        total, _ = build_loss([spec], "Student", tag_shares=SHARES)(
            {"Student": x}, paddle.to_tensor(tags, "float32")
        )
        total.backward()
        gradients.append((float(total), x.grad.numpy()))
    (first, one), (second, other) = gradients
    assert first == second
    assert one[2, 1] == other[2, 1] == 0
    assert np.count_nonzero(one) > TAGS.size / 2  # a margin leaves out what is easy


@pytest.mark.parametrize("spec", [MultiLabelLoss(1.0, weight_ratio=True), MultiLabelLoss(1.0, size_sum=True)])
def test_the_mean_does_not_depend_on_how_a_batch_is_divided(spec):
    tags = with_unknown((0, 3))
    parts = [value(spec, tags[part], LOGITS[part]) for part in (slice(0, 3), slice(3, 6))]
    assert np.mean(parts) == pytest.approx(value(spec, tags), rel=1e-5)


def test_every_network_of_a_distillation_learns_the_tags():
    both = DistillationMultiLabelLoss(0.5, size_sum=True, model_names=["Student", "Teacher"])
    outputs = {
        "Student": paddle.to_tensor(LOGITS, "float32"),
        "Teacher": paddle.to_tensor(-LOGITS, "float32"),
    }
    total, _ = build_loss([both], "Student", ["Teacher"])(outputs, paddle.to_tensor(TAGS, "float32"))
    single = [value(MultiLabelLoss(0.5, size_sum=True), logits=logits) for logits in (LOGITS, -LOGITS)]
    assert float(total) == pytest.approx(sum(single), rel=1e-5)
