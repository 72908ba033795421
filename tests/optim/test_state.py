"""Training continues bit for bit from saved state, whatever Paddle calls the parameters this time."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.config import optim
from ppcls_light.config.bind import bind_plain
from ppcls_light.errors import WeightsError
from ppcls_light.optim import build_optimizer, load_optimizer_state, optimizer_state

OPTIMIZERS = {
    "momentum": ("Momentum", {"use_nesterov": True, "weight_decay": 1e-3, "clip_grad": 1.0}),
    "sgd": ("SGD", {"regularizer": {"name": "L1", "coeff": 1e-3}}),
    "adam": ("Adam", {"weight_decay": 1e-3, "clip_value": 0.1}),
    "rmsprop": ("RMSProp", {"momentum": 0.5, "clip_norm": 1.0}),
    "adamw": ("AdamW", {"weight_decay": 0.05, "one_dim_param_no_weight_decay": True}),
}


class Tiny(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.norm = nn.BatchNorm2D(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(nn.functional.relu(self.norm(self.conv(x))).mean(axis=[2, 3]))


def build(kind):
    name, keys = OPTIMIZERS[kind]
    section = {"lr": {"name": "ConstLR", "learning_rate": 0.1}, **keys}
    model = Tiny()
    return model, build_optimizer(bind_plain(getattr(optim, name), section, "test"), model)


def train(model, optimizer, steps):
    for step in steps:
        x = np.random.default_rng(step).normal(size=(4, 3, 5, 5)).astype(np.float32)
        model(paddle.to_tensor(x)).square().mean().backward()
        optimizer.set_lr(0.1 / (1 + step))
        optimizer.step()
        optimizer.clear_grad()


def arrays(model):
    return {key: value.numpy() for key, value in model.state_dict().items()}


def assert_equal(actual, expected):
    assert list(actual) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value, err_msg=key)


@pytest.mark.parametrize("stepped", [False, True], ids=["fresh", "stepped"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_continues_bit_for_bit(kind, stepped):
    model, optimizer = build(kind)
    train(model, optimizer, range(4))
    weights, state = arrays(model), optimizer_state(optimizer, model)
    train(model, optimizer, range(4, 8))

    nn.Conv2D(1, 1, 1), nn.BatchNorm2D(1), nn.Linear(1, 1)
    resumed, resumed_optimizer = build(kind)
    assert resumed.fc.weight.name != model.fc.weight.name
    if stepped:
        train(resumed, resumed_optimizer, range(20, 22))
    resumed.set_state_dict(weights)
    load_optimizer_state(resumed_optimizer, resumed, state)
    assert_equal(optimizer_state(resumed_optimizer, resumed), state)
    train(resumed, resumed_optimizer, range(4, 8))
    assert_equal(arrays(resumed), arrays(model))
    assert_equal(optimizer_state(resumed_optimizer, resumed), optimizer_state(optimizer, model))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_second_optimizer_of_one_network(kind):
    """Paddle numbers its tensors `..._velocity_1` then."""
    model, optimizer = build(kind)
    train(model, optimizer, range(2))
    state = optimizer_state(optimizer, model)
    name, keys = OPTIMIZERS[kind]
    section = {"lr": {"name": "ConstLR", "learning_rate": 0.1}, **keys}
    second = build_optimizer(bind_plain(getattr(optim, name), section, "test"), model)
    load_optimizer_state(second, model, state)
    assert_equal(optimizer_state(second, model), state)


def test_without_the_state_training_differs():
    """So that the tests above can fail."""
    model, optimizer = build("momentum")
    train(model, optimizer, range(2))
    weights = arrays(model)
    train(model, optimizer, range(2, 4))
    resumed, resumed_optimizer = build("momentum")
    resumed.set_state_dict(weights)
    train(resumed, resumed_optimizer, range(2, 4))
    assert np.abs(resumed.fc.weight.numpy() - model.fc.weight.numpy()).max() > 1e-4


def test_keys_are_structured_names_and_values_the_initial_ones_before_the_first_step():
    model, optimizer = build("adamw")
    state = optimizer_state(optimizer, model)
    parameters = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "fc.weight", "fc.bias")
    kinds = ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")
    assert set(state) == {f"{parameter}.{kind}_0" for parameter in parameters for kind in kinds}
    assert state["fc.weight.moment1_0"].shape == (4, 2)
    assert not state["fc.weight.moment1_0"].any()
    assert state["fc.weight.beta1_pow_acc_0"] == pytest.approx([0.9])

    model, optimizer = build("momentum")
    assert set(optimizer_state(optimizer, model)) == {f"{parameter}.velocity_0" for parameter in parameters}
    model, optimizer = build("sgd")
    assert optimizer_state(optimizer, model) == {}


def test_frozen_parameters_have_no_state():
    model, optimizer = build("momentum")
    model.conv.weight.stop_gradient = True
    assert "conv.weight.velocity_0" not in optimizer_state(optimizer, model)


@pytest.mark.parametrize("name", ["Momentum", "SGD", "AdamW", "Adam", "RMSProp"])
def test_master_weights_of_half_precision(name):
    def half():
        model = Tiny()
        model.to(dtype="float16")
        section = {"lr": {"name": "ConstLR", "learning_rate": 0.1}, "multi_precision": True}
        return model, build_optimizer(bind_plain(getattr(optim, name), section, "test"), model)

    model, optimizer = half()
    state = optimizer_state(optimizer, model)
    masters = [key for key in state if key.endswith(".fp32_master_0")]
    assert len(masters) == 6
    assert all(value.dtype == np.float32 for value in state.values())
    np.testing.assert_array_equal(
        state["fc.weight.fp32_master_0"], model.fc.weight.numpy().astype(np.float32)
    )

    rng = np.random.default_rng(0)
    state = {key: rng.normal(size=value.shape).astype(np.float32) for key, value in state.items()}
    resumed, resumed_optimizer = half()
    load_optimizer_state(resumed_optimizer, resumed, state)
    assert_equal(optimizer_state(resumed_optimizer, resumed), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("fc.weight.velocity_0"), r"1 missing \(fc\.weight\.velocity_0\)"),
        (lambda state: state.update(extra=np.zeros(1)), r"1 unexpected \(extra\)"),
        (
            lambda state: state.update({"fc.bias.velocity_0": np.zeros(3, np.float32)}),
            r"fc\.bias\.velocity_0 \[3\] instead of \[2\]",
        ),
        (
            lambda state: state.update({"fc.bias.velocity_0": np.zeros(2, np.float16)}),
            r"fc\.bias\.velocity_0 is float16 instead of float32",
        ),
    ],
    ids=["missing", "unexpected", "shape", "type"],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, message):
    model, optimizer = build("momentum")
    train(model, optimizer, range(2))
    before = optimizer_state(optimizer, model)
    state = {key: value + 1 for key, value in before.items()}
    change(state)
    with pytest.raises(WeightsError, match=message) as caught:
        load_optimizer_state(optimizer, model, state)
    assert "\n" not in str(caught.value)
    assert_equal(optimizer_state(optimizer, model), before)


def test_state_of_another_optimizer_does_not_fit():
    model, optimizer = build("momentum")
    state = optimizer_state(optimizer, model)
    model, optimizer = build("adamw")
    with pytest.raises(WeightsError, match=r"does not fit AdamW: 0 keys fit, 24 missing.*6 unexpected"):
        load_optimizer_state(optimizer, model, state)
