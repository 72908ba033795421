"""Real optimizer steps on a tiny network against the update rules in numpy."""

import logging

import numpy as np
import paddle
import pytest
from paddle import ParamAttr, nn
from paddle.regularizer import L2Decay

from ppcls_light.config import optim
from ppcls_light.config.bind import bind_plain
from ppcls_light.errors import ConfigError
from ppcls_light.optim import build_optimizer

LR = 0.1


class Tiny(nn.Layer):
    """A plain layer, a norm whose parameters bring their own L2Decay(0), and a slower layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        own = ParamAttr(regularizer=L2Decay(0.0))
        self.norm = nn.LayerNorm(4, weight_attr=own, bias_attr=ParamAttr(regularizer=L2Decay(0.0)))
        self.slow = nn.Linear(4, 2, weight_attr=ParamAttr(learning_rate=0.25))

    def forward(self, x):
        return self.slow(nn.functional.relu(self.norm(self.fc(x))))


def configure(name, **keys):
    return bind_plain(getattr(optim, name), {"lr": {"name": "ConstLR", "learning_rate": LR}, **keys}, "test")


def run(config, steps=3, scales=(1.0, 1.0, 1.0)):
    """Train and return (parameters before, gradients of each step, parameters after), all float64 by name."""
    paddle.seed(0)
    model = Tiny()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.set_value(rng.normal(0, 1, parameter.shape).astype(np.float32))
    optimizer = build_optimizer(config, model)
    inputs = paddle.to_tensor(rng.normal(0, 1, (8, 3)).astype(np.float32))

    def snapshot(of=lambda parameter: parameter):
        return {name: of(p).numpy().astype(np.float64) for name, p in model.named_parameters()}

    before, gradients = snapshot(), []
    for scale in scales[:steps]:
        (model(inputs).square().sum() * scale).backward()
        gradients.append(snapshot(lambda parameter: parameter.grad))
        optimizer.set_lr(LR)
        optimizer.step()
        optimizer.clear_grad()
    return before, gradients, snapshot()


def check(actual, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=2e-5, atol=2e-6, err_msg=name)


def rate(name):
    return LR * (0.25 if name == "slow.weight" else 1.0)


def momentum_by_hand(before, gradients, penalty, mu=0.0, nesterov=False):
    after = {}
    for name, weight in before.items():
        velocity = np.zeros_like(weight)
        for gradient in gradients:
            step = gradient[name] + penalty(name, weight)
            velocity = mu * velocity + step
            weight = weight - rate(name) * (step + mu * velocity if nesterov else velocity)
        after[name] = weight
    return after


def adamw_by_hand(before, gradients, decay, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Loshchilov and Hutter, algorithm 2, with the decay scaled by the rate as in every implementation."""
    after = {}
    for name, weight in before.items():
        m, v = np.zeros_like(weight), np.zeros_like(weight)
        for t, gradient in enumerate(gradients, 1):
            m = beta1 * m + (1 - beta1) * gradient[name]
            v = beta2 * v + (1 - beta2) * gradient[name] ** 2
            weight = weight * (1 - rate(name) * decay(name))
            weight = weight - rate(name) * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        after[name] = weight
    return after


def adam_by_hand(before, gradients, penalty, beta1=0.8, beta2=0.95, epsilon=1e-6):
    """Kingma and Ba, algorithm 1, on gradients that hold the penalty's."""
    after = {}
    for name, weight in before.items():
        m, v = np.zeros_like(weight), np.zeros_like(weight)
        for t, gradient in enumerate(gradients, 1):
            step = gradient[name] + penalty(name, weight)
            m, v = beta1 * m + (1 - beta1) * step, beta2 * v + (1 - beta2) * step**2
            weight = weight - rate(name) * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        after[name] = weight
    return after


def rmsprop_by_hand(before, gradients, penalty, rho=0.9, momentum=0.7, epsilon=1e-3):
    """Hinton's lecture 6e with momentum; epsilon is under the root, as in TensorFlow and Paddle."""
    after = {}
    for name, weight in before.items():
        square, velocity = np.zeros_like(weight), np.zeros_like(weight)
        for gradient in gradients:
            step = gradient[name] + penalty(name, weight)
            square = rho * square + (1 - rho) * step**2
            velocity = momentum * velocity + rate(name) * step / np.sqrt(square + epsilon)
            weight = weight - velocity
        after[name] = weight
    return after


ADAPTIVE = {
    "Adam": (adam_by_hand, {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}),
    "RMSProp": (rmsprop_by_hand, {"rho": 0.9, "momentum": 0.7, "epsilon": 1e-3}),
}


@pytest.mark.parametrize("kind", ADAPTIVE)
@pytest.mark.parametrize("penalty", ["L1", "L2"])
def test_adaptive_optimizers_add_the_penalty_and_spare_what_is_exempt(kind, penalty):
    by_hand, keys = ADAPTIVE[kind]
    config = configure(
        kind, **keys, regularizer={"name": penalty, "coeff": 0.3}, one_dim_param_no_weight_decay=True
    )
    before, gradients, after = run(config)

    def gradient_of_penalty(name, w):
        return 0.3 * (np.sign(w) if penalty == "L1" else w) if w.ndim > 1 else 0.0

    check(after, by_hand(before, gradients, gradient_of_penalty))


def is_norm(name):
    return name.startswith("norm.")


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    "penalty",
    [{"regularizer": {"name": "L2", "coeff": 0.3}}, {"weight_decay": 0.3}],
    ids=["regularizer", "decay"],
)
def test_momentum_with_l2_spares_what_has_its_own_regularizer(nesterov, penalty):
    before, gradients, after = run(configure("Momentum", momentum=0.8, use_nesterov=nesterov, **penalty))
    expected = momentum_by_hand(
        before, gradients, lambda name, w: 0.0 if is_norm(name) else 0.3 * w, 0.8, nesterov
    )
    check(after, expected)


def test_momentum_with_l1():
    before, gradients, after = run(configure("Momentum", regularizer={"name": "L1Decay", "coeff": 0.3}))
    expected = momentum_by_hand(
        before, gradients, lambda name, w: 0.0 if is_norm(name) else 0.3 * np.sign(w), 0.9
    )
    check(after, expected)


@pytest.mark.parametrize("kind", ["Momentum", "SGD"])
@pytest.mark.parametrize("penalty", ["L1", "L2"])
def test_exempted_parameters_have_no_penalty(kind, penalty):
    keys = {"regularizer": {"name": penalty, "coeff": 0.3}, "no_weight_decay_name": "norm fc.weight"}
    config = configure(kind, one_dim_param_no_weight_decay=True, **keys)
    before, gradients, after = run(config)

    def gradient_of_penalty(name, w):
        return 0.3 * (np.sign(w) if penalty == "L1" else w) if name == "slow.weight" else 0.0

    mu = 0.9 if kind == "Momentum" else 0.0
    check(after, momentum_by_hand(before, gradients, gradient_of_penalty, mu))


@pytest.mark.parametrize("penalty", ["L1", "L2Decay"])
def test_sgd_with_penalty(penalty):
    before, gradients, after = run(configure("SGD", regularizer={"name": penalty, "coeff": 0.3}))

    def gradient_of_penalty(name, w):
        return 0.0 if is_norm(name) else 0.3 * (np.sign(w) if penalty == "L1" else w)

    check(after, momentum_by_hand(before, gradients, gradient_of_penalty))


def test_no_penalty_unless_asked():
    before, gradients, after = run(configure("SGD"))
    check(after, momentum_by_hand(before, gradients, lambda name, w: 0.0))


def test_adamw_decays_everything_by_default():
    before, gradients, after = run(configure("AdamW", weight_decay=0.5))
    check(after, adamw_by_hand(before, gradients, lambda name: 0.5))


def test_adamw_spares_exempted_names_and_vectors():
    before, gradients, after = run(
        configure("AdamW", weight_decay=0.5, no_weight_decay_name="slow", one_dim_param_no_weight_decay=True)
    )
    check(after, adamw_by_hand(before, gradients, lambda name: 0.5 if name == "fc.weight" else 0.0))


def clip_globally(gradient, limit):
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    return {name: g * limit / max(norm, limit) for name, g in gradient.items()}


def clip_each(gradient, limit):
    return {name: g * limit / max(np.linalg.norm(g), limit) for name, g in gradient.items()}


def clip_elements(gradient, limit):
    return {name: g.clip(-limit, limit) for name, g in gradient.items()}


@pytest.mark.parametrize(
    ("key", "clip"),
    [("clip_grad", clip_globally), ("clip_norm", clip_each), ("clip_value", clip_elements)],
)
def test_clipping(key, clip):
    """Clipped before the penalty is added; exempting parameters does not split the norm."""
    config = configure("SGD", weight_decay=0.3, no_weight_decay_name="fc", **{key: 0.5})
    before, gradients, after = run(config)
    penalty = {"fc": 0.0, "norm": 0.0, "slow": 0.3}
    expected = momentum_by_hand(
        before, [clip(g, 0.5) for g in gradients], lambda name, w: penalty[name.split(".")[0]] * w
    )
    check(after, expected)


def test_one_kind_of_clipping_at_a_time():
    with pytest.raises(ConfigError, match="clip_grad and clip_value are both given; keep one"):
        configure("SGD", clip_grad=1.0, clip_value=1.0)


def test_clip_leaves_small_gradients_alone():
    before, gradients, after = run(configure("SGD", clip_grad=1e6))
    check(after, momentum_by_hand(before, gradients, lambda name, w: 0.0))


def test_clip_grad_of_fasternets_yaml_takes_effect():
    """PaddleClas' AdamW swallows this key. The gradients' sizes differ, or AdamW would hide the clipping."""
    section = {
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 0.05,
        "clip_grad": 0.01,
        "no_weight_decay_name": None,
        "one_dim_param_no_weight_decay": True,
    }
    scales = (1.0, 1e-3, 10.0)
    config = configure("AdamW", **section)
    optimizer = build_optimizer(config, Tiny())
    assert isinstance(optimizer._grad_clip, nn.ClipGradByGlobalNorm)
    before, gradients, after = run(config, scales=scales)

    def decay(name):
        return 0.05 if name.endswith("weight") and not is_norm(name) else 0.0

    clipped = [clip_globally(gradient, 0.01) for gradient in gradients]
    check(after, adamw_by_hand(before, clipped, decay))
    unclipped = adamw_by_hand(before, gradients, decay)
    assert np.abs(after["fc.weight"] - unclipped["fc.weight"]).max() > 0.01


def test_two_penalties_are_an_error():
    with pytest.raises(ConfigError, match="both given; keep one"):
        configure("Momentum", regularizer={"name": "L2", "coeff": 0.1}, weight_decay=0.1)


def test_a_name_that_exempts_nothing_is_logged(caplog):
    with caplog.at_level(logging.WARNING, "ppcls_light"):
        build_optimizer(configure("AdamW", no_weight_decay_name="norm pos_embed"), Tiny())
    assert [record.getMessage() for record in caplog.records] == [
        "Optimizer.no_weight_decay_name: no parameter's name contains 'pos_embed'"
    ]
