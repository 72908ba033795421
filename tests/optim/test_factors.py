"""Learning-rate factors by stage: real steps of a network against the update rule in numpy."""

import logging

import numpy as np
import paddle
import pytest

from ppcls_light.config import optim
from ppcls_light.config.bind import bind_plain
from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.optim import build_optimizer, set_factors

LR = 0.5
# Factors of PP-LCNet's parts under a layer decay of 0.5: the neck, last_conv, learns like the last stage.
HALVES = {
    "conv1.": 1 / 64,
    "blocks2.": 1 / 32,
    "blocks3.": 1 / 16,
    "blocks4.": 1 / 8,
    "blocks5.": 1 / 4,
    "blocks6.": 1 / 2,
    "last_conv.": 1 / 2,
    "fc.": 1.0,
}


def configure(**lr):
    return bind_plain(
        optim.SGD, {"lr": {"name": "ConstLR", "learning_rate": LR, **lr}, "clip_grad": 0.1}, "test"
    )


def steps_and_gradients(name, config, **options):
    """Return ({key: change of a step}, {key: gradient}) of a network, those of its batch norms' statistics left out."""
    model = create_model(name, class_num=3, **options)
    set_factors(config.lr, model)
    optimizer = build_optimizer(config, model)
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype("float32")
    model(paddle.to_tensor(images)).square().sum().backward()
    learned = {key: value for key, value in model.named_parameters() if value.grad is not None}
    before = {key: value.numpy().astype("float64") for key, value in learned.items()}
    gradients = {key: value.grad.numpy().astype("float64") for key, value in learned.items()}
    optimizer.step()
    return {key: value.numpy() - before[key] for key, value in learned.items()}, gradients


def check(name, factors, config, **options):
    """Compare a step with -rate x factor x gradient, where all gradients together are clipped by one norm."""
    steps, gradients = steps_and_gradients(name, config, **options)
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    assert norm > 0.1
    for key, step in steps.items():
        (factor,) = (value for prefix, value in factors.items() if key.startswith(prefix))
        np.testing.assert_allclose(step, -LR * factor * gradients[key] * 0.1 / norm, atol=1e-7, err_msg=key)


def test_a_layer_decay_is_a_power_of_the_distance_from_the_classifier():
    check("PPLCNet_x0_25", HALVES, configure(layer_decay=0.5))


def test_the_factors_of_the_network_itself_multiply():
    own = (1.0, 1.0, 0.25, 1.0, 1.0, 0.5)
    factors = {**HALVES, "blocks3.": 1 / 64, "blocks6.": 1 / 4, "fc.": 10.0}
    check("PPLCNet_x0_25", factors, configure(layer_decay=0.5, head_factor=10.0), lr_mult_list=own)


def test_factors_are_given_for_the_stem_and_each_stage(caplog):
    caplog.set_level(logging.INFO)
    by_block = dict(enumerate((0.0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4)))  # strides 2, 4, 8, 16 and 32
    factors = {f"features.{number}.": factor for number, factor in by_block.items()}
    factors.update({"classifier.0.": 0.4, "classifier.2.": 2.0})
    check("MicroNet_M0", factors, configure(stage_factors=[0.0, 0.1, 0.2, 0.3, 0.4], head_factor=2.0))
    assert "factors of MicroNet_M0: stem 0, stages 0.1, 0.2, 0.3, 0.4, neck 0.4, head 2" in caplog.text
    assert "Arch.freeze does neither" in caplog.text


@pytest.mark.parametrize("name", ["FasterNet_T0", "EdgeNeXt_XX_Small"])
def test_every_family_has_a_factor_for_each_stage(name, caplog):
    caplog.set_level(logging.INFO)
    set_factors(configure(layer_decay=0.1).lr, create_model(name, class_num=3))
    assert f"{name}: stem 1e-05, stages 0.0001, 0.001, 0.01, 0.1, neck 0.1, head 1" in caplog.text


def test_factors_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="2 factors, but MicroNet_M0 has a stem and 4 stages; give 5"):
        set_factors(configure(stage_factors=[1.0, 1.0]).lr, create_model("MicroNet_M0", class_num=3))
    with pytest.raises(ConfigError, match=r"lr\.layer_decay and lr\.stage_factors are both given"):
        configure(layer_decay=0.5, stage_factors=[1.0])
