"""Cross entropy against its definition in numpy, float64."""

import numpy as np
import paddle
import pytest

from ppcls_light.config import load_config
from ppcls_light.config.losses import CELoss
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.losses import build_loss, weigh_classes
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError

N, K = 6, 5
REL = 1e-7  # Paddle 2.6 multiplies even float64 tensors by float32 scalars


def by_hand(logits, targets):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=1)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    shares = rng.dirichlet(np.ones(K), N).astype(np.float32).astype(np.float64)
    return rng.normal(0, 3, (N, K)), labels, np.eye(K)[labels], shares


@pytest.mark.parametrize("epsilon", [None, 0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_the_definition(batch, epsilon, soft, reduction):
    logits, labels, one_hot, shares = batch
    total, parts = build_loss([CELoss(1.0, epsilon, reduction)])(
        paddle.to_tensor(logits), paddle.to_tensor(shares.astype("float32") if soft else labels)
    )
    targets = shares if soft else one_hot
    targets = (1 - (epsilon or 0)) * targets + (epsilon or 0) / K
    expected = getattr(by_hand(logits, targets), reduction)()
    assert float(total) == pytest.approx(expected, rel=REL)
    assert list(parts) == ["CELoss", "loss"]
    assert float(parts["CELoss"]) == float(parts["loss"]) == float(total)
    assert list(total.shape) == []


def test_weight_of_a_single_loss_takes_effect(batch):
    logits, labels, one_hot, _ = batch
    total, parts = build_loss([CELoss(100.0)])(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(total) == pytest.approx(100 * by_hand(logits, one_hot).mean(), rel=REL)
    assert float(parts["CELoss"]) == float(total)


def test_losses_add_up(batch):
    logits, labels, one_hot, _ = batch
    total, parts = build_loss([CELoss(0.5), CELoss(2.0, 0.2)])(
        paddle.to_tensor(logits), paddle.to_tensor(labels)
    )
    plain, smooth = by_hand(logits, one_hot).mean(), by_hand(logits, 0.8 * one_hot + 0.2 / K).mean()
    assert float(total) == pytest.approx(0.5 * plain + 2 * smooth, rel=REL)
    assert list(parts) == ["CELoss", "loss"]


def test_gradient_is_softmax_minus_target(batch):
    logits, labels, one_hot, _ = batch
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    build_loss([CELoss(3.0, 0.1)])(tensor, paddle.to_tensor(labels))[0].backward()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = 3.0 * (softmax - (0.9 * one_hot + 0.1 / K)) / N
    np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=REL, atol=1e-9)


def test_half_precision_logits_are_computed_in_float32():
    logits = paddle.to_tensor(np.array([[0.0, 12.0], [9.0, 0.0]], np.float16))
    total, _ = build_loss([CELoss(1.0, 0.1)])(logits, paddle.to_tensor(np.array([1, 1])))
    assert total.dtype == paddle.float32
    expected = by_hand(np.array([[0.0, 12.0], [9.0, 0.0]]), np.array([[0.05, 0.95], [0.05, 0.95]])).mean()
    assert float(total) == pytest.approx(expected, rel=1e-6)


def test_no_loss_is_an_error():
    with pytest.raises(ConfigError, match="at least one loss"):
        build_loss([])


WEIGHTS = [0.5, 2.0, 0.0, 1.0, 3.5]


@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_weights_multiply_the_terms_of_their_classes(batch, epsilon, soft, reduction):
    logits, labels, one_hot, shares = batch
    spec = CELoss(1.0, epsilon, reduction, WEIGHTS)
    total, _ = build_loss([spec])(
        paddle.to_tensor(logits), paddle.to_tensor(shares.astype("float32") if soft else labels)
    )
    targets = (1 - (epsilon or 0)) * (shares if soft else one_hot) + (epsilon or 0) / K
    expected = getattr(by_hand(logits, targets * WEIGHTS), reduction)()
    assert float(total) == pytest.approx(expected, rel=REL)


def test_class_weights_do_not_depend_on_how_a_batch_is_divided(batch):
    logits, labels, _, _ = batch
    loss = build_loss([CELoss(1.0, class_weights=WEIGHTS)])
    parts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    divided = [float(loss(paddle.to_tensor(logits[p]), paddle.to_tensor(labels[p]))[0]) for p in parts]
    whole = float(loss(paddle.to_tensor(logits), paddle.to_tensor(labels))[0])
    assert np.mean(divided) == pytest.approx(whole, rel=REL)
    log_loss = pytest.importorskip("sklearn.metrics").log_loss
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weights = np.asarray(WEIGHTS)[labels]
    total = log_loss(labels, p, sample_weight=weights, normalize=False, labels=range(K))
    assert whole == pytest.approx(total / len(labels), rel=1e-6)


def test_balanced_weights_are_scikit_learn_s():
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    labels = np.repeat([0, 1, 2, 3], [40, 5, 13, 1])
    (loss,) = weigh_classes([CELoss(1.0, class_weights="balanced")], labels, 4)
    np.testing.assert_allclose(loss.class_weights, compute("balanced", classes=np.arange(4), y=labels))
    assert np.mean(np.asarray(loss.class_weights)[labels]) == pytest.approx(1)
    given = [CELoss(1.0, class_weights=[1.0, 2.0]), CELoss(2.0)]
    assert weigh_classes(given, labels, 4) == given
    with pytest.raises(
        ConfigError, match=r"class 4 has no training image; lower Arch\.class_num, or write 5 numbers"
    ):
        weigh_classes([CELoss(1.0, class_weights="balanced")], labels, 5)


def test_the_trainer_weighs_by_the_training_list(config_file):
    run = Trainer(
        load_config(config_file, ["Loss.Train=[{CELoss: {weight: 1, class_weights: balanced}}]"]),
        Runtime("cpu"),
    )
    batch = next(run.reader.loader.epoch(0))
    logits, _, losses = run.train_step(batch)
    weights = 26 / (3 * np.bincount(np.arange(26) % 3))
    log_p = logits.numpy() - np.log(np.exp(logits.numpy()).sum(axis=1, keepdims=True))
    expected = -np.mean(weights[batch.labels] * log_p[np.arange(4), batch.labels])
    assert float(losses["CELoss"]) == pytest.approx(expected, rel=1e-5)
