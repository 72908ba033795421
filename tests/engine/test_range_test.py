"""Learning rate range test: readings of known curves, the training it stands for, and what it leaves."""

import logging
import math
import os

import numpy as np
import paddle
import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime, seed_everything
from ppcls_light.engine.network import build_model
from ppcls_light.engine.range_test import RangeTest, override, range_test
from ppcls_light.engine.readers import build_reader
from ppcls_light.errors import ConfigError, UserError
from ppcls_light.optim import build_schedule

CPU = Runtime("cpu")
SGD = "Optimizer={name: SGD, lr: {name: ConstLR, learning_rate: 0.1}}"


def measured(losses, steps=200, chance=2.3):
    """Return the RangeTest of `losses` at rates from 1e-5 to 10."""
    test = RangeTest(steps, chance)
    for rate, loss in zip(np.geomspace(1e-5, 10, steps).tolist(), losses):
        test.add(rate, loss)
    return test


def valley(steps=200, least=0.1, noise=0.05):
    """Return losses that stay at 2.3, fall by a logistic curve around least / 10 and rise after `least`."""
    decades = np.linspace(-5, 1, steps) - math.log10(least)
    fall = 1.5 / (1 + np.exp(-6 * (decades + 1)))
    return 2.3 - fall + 0.5 * np.maximum(decades, 0) ** 2 + np.random.default_rng(0).normal(0, noise, steps)


@pytest.mark.parametrize("least", [0.003, 0.02, 0.1])
def test_readings_of_a_known_curve(least):
    test = measured(valley(least=least, noise=0.01))
    lag = 10 ** (6 / 20)  # of an average over a twentieth of six decades
    assert least / 2 < test.rates[test.minimum] < 2 * lag * least
    assert least / 10 / 1.5 < test.rates[test.steepest] < 1.5 * lag * least / 10
    bound = least * 10 ** math.sqrt(1.5 / 0.5)  # there the loss is 2.3 again
    assert bound / 1.5 < test.rates[test.bound] < lag * bound
    assert test.suggestion == test.rates[test.bound] / 10


def test_the_suggestion_does_not_depend_on_which_end_of_a_floor_is_lowest():
    floor = np.where(np.linspace(-5, 1, 200) < -4, 2.3, 1.3)
    floor[np.linspace(-5, 1, 200) > -0.5] = 6.0
    tilt = np.linspace(-0.15, 0.15, 200)
    first, second = measured(floor + tilt), measured(floor - tilt)
    assert first.rates[first.minimum] < second.rates[second.minimum] / 10
    assert first.suggestion == pytest.approx(second.suggestion, rel=0.3)
    assert first.suggestion == pytest.approx(10**-1.5, rel=0.3)


def test_smoothed_losses_are_averages_whose_weights_add_up_to_one():
    losses = np.random.default_rng(1).normal(2, 1, 60)
    test = measured(losses)
    for end in (1, 7, 60):
        weights = 0.9 ** np.arange(end)[::-1]  # over a twentieth of 200 steps
        assert test.smoothed[end - 1] == pytest.approx(np.average(losses[:end], weights=weights))


def test_scatter_alone_suggests_nothing():
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(2.3, 0.2, 200)
        assert measured(noise).suggestion is None
        assert measured(noise, 20).suggestion is None
    assert measured(np.linspace(2.3, 9.0, 200)).suggestion is None
    assert measured(valley(noise=0.2)).suggestion is not None


def test_divergence_is_a_multiple_of_the_least_loss_but_more_than_guessing():
    losses = [0.01] * 20 + [0.2] * 20 + [3.0] * 100
    assert [measured(losses[:end]).diverged for end in (20, 40, 60)] == [False, False, True]
    assert not measured([2.3] * 100 + [5.0] * 50).diverged
    test = measured([2.3, 2.0, math.inf])
    assert (test.losses, test.diverged) == ([2.3, 2.0], True)


def losses_of_plain_sgd(config, rates):
    """Return the losses of a loop without any of our training code, one update per rate."""
    seed_everything(config.Global.seed)
    model = build_model(config)
    optimizer = paddle.optimizer.SGD(0.1, model.parameters())
    loader, losses, epoch = build_reader(config, "Train", CPU).loader, [], 0
    while len(losses) < len(rates):
        for batch in list(loader.epoch(epoch))[: len(rates) - len(losses)]:
            seed_everything(config.Global.seed, 0, len(losses))
            optimizer.set_lr(rates[len(losses)])
            logits = model(paddle.to_tensor(batch.images))
            loss = paddle.nn.functional.cross_entropy(
                logits, paddle.to_tensor(batch.labels), label_smoothing=0.1
            )
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            losses.append(float(loss))
        epoch += 1
    return losses


def test_the_steps_are_those_of_the_training_over_as_many_epochs_as_it_takes(config_file):
    config = load_config(config_file, [SGD, "Global.cpu_ops=false", "Optimizer.weight_decay=0"])
    test = range_test(config, CPU, 1e-3, 0.1, 20)  # an epoch has 6
    assert test.rates == pytest.approx(np.geomspace(1e-3, 0.1, 20))
    assert test.losses == pytest.approx(losses_of_plain_sgd(config, test.rates), rel=1e-4)


def test_rates_are_those_of_the_config_whatever_the_global_batch(config_file):
    twice = "Global.update_freq=2"  # 3 updates per epoch
    plain = range_test(load_config(config_file, [SGD, twice]), CPU, 1e-3, 0.1, 20)
    based = [SGD, twice, "Optimizer.lr.base_batch_size=32"]
    scaled = range_test(load_config(config_file, based), CPU, 4e-3, 0.4, 20)
    assert scaled.losses == pytest.approx(plain.losses, rel=1e-4)
    assert scaled.rates == pytest.approx([4 * rate for rate in plain.rates])


@pytest.mark.parametrize("high", [1e4, 1e30])
def test_a_loss_that_explodes_ends_the_test(config_file, high):
    test = range_test(load_config(config_file, [SGD]), CPU, 1e-3, high, 20)
    assert test.diverged
    assert 0 < len(test.rates) < 20
    assert np.isfinite(test.losses).all()


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        ("{name: Cosine, learning_rate: 0.1}", "Optimizer.lr.learning_rate=0.0123"),
        (
            "{name: Cosine, learning_rate: 0.1, eta_min: 0.001, warmup_start_lr: 0.01, base_batch_size: 64}",
            "Optimizer.lr.learning_rate=0.0123 Optimizer.lr.warmup_start_lr=0.00123 Optimizer.lr.eta_min=0.000123",
        ),
        ("{name: ConstLR, learning_rate: 0.0123456}", "Optimizer.lr.learning_rate=0.0123"),
        (
            "{name: Piecewise, decay_epochs: [2], values: [0.1, 0.01]}",
            "Optimizer.lr.learning_rate=0.0123 Optimizer.lr.values=[0.0123,0.00123]",
        ),
        (
            "{name: Cyclic, base_learning_rate: 0.01, max_learning_rate: 0.1, step_size_up: 3}",
            "Optimizer.lr.learning_rate=0.00123 Optimizer.lr.base_learning_rate=0.00123 "
            "Optimizer.lr.max_learning_rate=0.0123",
        ),
        (
            "{name: OneCycleLR, max_learning_rate: 0.1, end_learning_rate: 0}",
            "Optimizer.lr.learning_rate=0.0123 Optimizer.lr.max_learning_rate=0.0123",
        ),
    ],
)
def test_the_line_to_type_gives_a_schedule_whose_highest_rate_is_the_suggestion(config_file, lr, expected):
    config = load_config(config_file, [f"Optimizer.lr={lr}"])
    line = override(config.Optimizer.lr, 0.0123456)
    assert line == expected
    then = load_config(config_file, [f"Optimizer.lr={lr}", *line.split()]).Optimizer.lr
    schedule = build_schedule(then, 5, 12)
    assert max(map(schedule, range(60))) == pytest.approx(0.0123, rel=0.05)


def test_the_command_leaves_points_a_picture_and_a_line_to_type(config_file, tmp_path, run_tool, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "output").mkdir()
    (tmp_path / "output/best_model.pdparams").write_bytes(b"a run's")
    options = ["Arch.dropout_prob=0.0", "DataLoader.Train.sampler.batch_size=26", "DataLoader.Eval=null"]
    run_tool("find_lr", "-c", config_file, "--steps", "60", "--low", "1e-4", "--high", "3", "-o", *options)
    output = capsys.readouterr().out
    rows = (tmp_path / "output/find_lr/points.csv").read_text().splitlines()
    assert rows[0] == "learning_rate,loss,smoothed"
    points = np.array([row.split(",") for row in rows[1:]], float)
    bound = points[points[:, 2] <= points[4, 2]][-1, 0]
    line = output.split(": -o ")[1].split("\n")[0]
    assert line == f"Optimizer.lr.learning_rate={bound / 10:.3g}"
    assert sorted(os.listdir(tmp_path / "output")) == ["best_model.pdparams", "find_lr"]
    assert sorted(os.listdir(tmp_path / "output/find_lr")) == ["curve.png", "curve.svg", "points.csv"]


def test_a_loss_that_does_not_fall_is_one_line_with_the_points_there(config_file, tmp_path):
    with pytest.raises(
        UserError, match=r"no learning rate is suggested: from 1e-09 to 1e-08 .* more --steps"
    ):
        jobs.find_lr(load_config(config_file), 1e-9, 1e-8, 20)
    assert len((tmp_path / "output/find_lr/points.csv").read_text().splitlines()) == 21


@pytest.mark.parametrize(
    ("arguments", "runtime", "message"),
    [
        ((0.1, 0.01, 100), CPU, r"rise from 0\.1 to 0\.01; for example --low"),
        ((0.0, 0.1, 100), CPU, r"rise from 0 to 0\.1"),
        ((0.1, math.inf, 100), CPU, "rise from 0.1 to inf"),
        ((0.1, math.nan, 100), CPU, "rise from 0.1 to nan"),
        ((0.1, 1.0, 5), CPU, "5 steps make no curve; use --steps 300"),
        ((0.1, 1.0, 100), Runtime("cpu", 1, 2), "one process; start it without paddle.distributed.launch"),
    ],
)
def test_bad_arguments_are_one_line(config_file, arguments, runtime, message):
    with pytest.raises(ConfigError, match=message):
        range_test(load_config(config_file), runtime, *arguments)


def test_a_checkpoint_to_resume_is_left_out_and_said(config_file, caplog):
    config = load_config(config_file, ["Global.checkpoints=nothing_there"])
    with caplog.at_level(logging.WARNING, "ppcls_light"):
        range_test(config, CPU, 1e-3, 0.1, 20)
    assert "Global.checkpoints: left out: the test starts where a training starts" in caplog.messages
