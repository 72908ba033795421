"""Mixed precision: what it asks of Paddle, and what becomes of gradients that overflow.

Paddle switches its loss scaler off on CPU; `scaler_on_cpu` makes it believe in a GPU, so that the real one runs.
"""

import logging
import types
import warnings

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.amp import grad_scaler

from ppcls_light.config import load_config
from ppcls_light.config.schema import AMPConfig
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime, synchronise_batch_norms
from ppcls_light.engine.precision import Precision
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import DeviceError, UserError

DYNAMIC = {"scale_loss": 128.0, "use_dynamic_loss_scaling": True}


@pytest.fixture
def scaler_on_cpu(monkeypatch):
    place = types.SimpleNamespace(is_gpu_place=lambda: True)
    tracer = types.SimpleNamespace(_expected_place=place)
    monkeypatch.setattr(grad_scaler, "_dygraph_tracer", lambda: tracer)
    # `auto_cast` sets it; a scaler that finds another type in it switches itself off.
    monkeypatch.setattr(grad_scaler.amp_global_state(), "amp_dtype", "float16")


@pytest.fixture
def asked(monkeypatch):
    """Return the list of (name, arguments) that Paddle's AMP functions are called with."""
    calls = []
    monkeypatch.setattr(paddle.amp, "auto_cast", lambda **keys: calls.append(("auto_cast", keys)))
    monkeypatch.setattr(
        paddle.amp,
        "decorate",
        lambda model, optimizer, **keys: (calls.append(("decorate", keys)), (model, optimizer))[1],
    )
    monkeypatch.setattr(paddle.amp, "GradScaler", lambda **keys: calls.append(("GradScaler", keys)))
    return calls


@pytest.mark.parametrize("use_promote", [False, True])
def test_float16_with_float32_weights_scales_the_loss(asked, use_promote):
    precision = Precision(AMPConfig(**DYNAMIC, use_promote=use_promote), "gpu")
    assert precision.decorate("model", "optimizer") == ("model", "optimizer")
    precision.autocast()
    assert asked == [
        (
            "GradScaler",
            {"init_loss_scaling": 128.0, "use_dynamic_loss_scaling": True},
        ),
        ("auto_cast", {"level": "O1", "dtype": "float16", "use_promote": use_promote}),
    ]
    with precision.evaluation():
        assert len(asked) == 2, "evaluation is in float32"
    assert not precision.scores_in_float32


def test_bfloat16_weights_have_masters_and_no_scale(asked):
    precision = Precision(AMPConfig(level="O2", dtype="bfloat16", **DYNAMIC), "gpu")
    precision.decorate("model", "optimizer")
    precision.autocast()
    name, keys = asked[0]
    assert (name, keys["enable"]) == ("GradScaler", False)
    assert asked[1:] == [
        (
            "decorate",
            {"level": "O2", "dtype": "bfloat16", "master_weight": True, "save_dtype": "float32"},
        ),
        ("auto_cast", {"level": "O2", "dtype": "bfloat16", "use_promote": False}),
    ]
    assert precision.scores_in_float32


def test_use_fp16_test_evaluates_as_it_trains(asked):
    precision = Precision(AMPConfig(level="O2", use_fp16_test=True), "gpu")
    precision.evaluation()
    assert asked[-1] == ("auto_cast", {"level": "O2", "dtype": "float16", "use_promote": False})
    assert not precision.scores_in_float32


@pytest.mark.parametrize("amp", [None, AMPConfig(use_amp=False), AMPConfig(**DYNAMIC)])
def test_on_cpu_there_is_one_warning_and_float32(amp, caplog):
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "error", message="(?i).*(scaler|auto_?cast|amp|mixed precision)"
        )  # Paddle's own
        precision = Precision(amp, "cpu")
        weight = paddle.create_parameter([2], "float32")
        optimizer = paddle.optimizer.SGD(0.5, parameters=[weight])
        before = weight.numpy().copy()
        with precision.autocast():
            loss = (weight * paddle.to_tensor([1.0, 2.0])).sum()
        precision.backward(loss)
        assert precision.step(optimizer)
    np.testing.assert_allclose(weight.numpy(), before - [0.5, 1.0], rtol=1e-6)
    messages = [record.getMessage() for record in caplog.records]
    expected = ["AMP.use_amp: Paddle has no mixed precision on CPU; this run is in fp32"]
    assert messages == (expected if amp is not None and amp.use_amp else [])
    assert precision.state_dict() == {"skipped": 0}


def test_an_overflow_skips_the_update_and_halves_the_scale(scaler_on_cpu):
    weight = paddle.create_parameter([2], "float32", default_initializer=nn.initializer.Constant(1.0))
    optimizer = paddle.optimizer.SGD(1.0, parameters=[weight])
    precision = Precision(AMPConfig(scale_loss=2.0**127, use_dynamic_loss_scaling=True), "gpu")
    stepped = []
    for _ in range(4):
        precision.backward((weight * 4).sum())
        stepped.append(precision.step(optimizer))
        optimizer.clear_grad()
    # 4 * 2^127 and 4 * 2^126 are above the largest float32, 4 * 2^125 is not.
    assert stepped == [False, False, True, True]
    np.testing.assert_array_equal(weight.numpy(), [1.0 - 2 * 4] * 2)
    state = precision.state_dict()
    assert (state["skipped"], float(state["scale"][0])) == (2, 2.0**125)

    resumed = Precision(AMPConfig(scale_loss=2.0**127, use_dynamic_loss_scaling=True), "gpu")
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    fresh = Precision(AMPConfig(scale_loss=64.0), "gpu")
    fresh.load_state_dict({"skipped": 0})  # of a run in float32
    assert float(fresh.state_dict()["scale"][0]) == 64.0


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (nn.ClipGradByGlobalNorm(1.0), np.array([3.0, 4.0]) / 5.0),
        (nn.ClipGradByValue(3.5), np.array([3.0, 3.5])),
    ],
)
def test_gradients_of_two_batches_are_unscaled_before_they_are_clipped(scaler_on_cpu, clip, expected):
    weight = paddle.create_parameter([2], "float32", default_initializer=nn.initializer.Constant(0.0))
    optimizer = paddle.optimizer.SGD(1.0, parameters=[weight], grad_clip=clip)
    precision = Precision(AMPConfig(**DYNAMIC), "gpu")
    for gradient in ([2.0, 6.0], [4.0, 2.0]):
        precision.backward((weight * paddle.to_tensor(gradient)).sum() / 2)
    assert precision.step(optimizer)
    np.testing.assert_allclose(weight.numpy(), -expected, rtol=1e-6)


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, overrides), Runtime("cpu"))


def weights(model):
    return {key: value.numpy().copy() for key, value in model.named_parameters() if not value.stop_gradient}


def test_a_skipped_update_changes_no_weights_and_no_ema_and_is_counted(
    scaler_on_cpu, config_file, tmp_path, caplog
):
    overrides = ["Global.epochs=1", "EMA={decay: 0.5}", "Global.print_batch_step=1"]
    run = trainer(config_file, *overrides, "Optimizer.lr.warmup_epoch=0")
    run.precision = Precision(AMPConfig(**DYNAMIC), "gpu")
    backward, train_step = run.precision.backward, run.train_step
    history, averages = [weights(run.model)], [weights(run.ema.model)]

    def overflowing(loss):
        backward(loss)
        if run.position.step in (1, 2):
            gradient = run.model.fc.weight.grad
            gradient.set_value(paddle.full_like(gradient, np.inf))

    def noting(batch):
        result = train_step(batch)
        history.append(weights(run.model))
        averages.append(weights(run.ema.model))
        return result

    run.precision.backward, run.train_step = overflowing, noting
    with caplog.at_level(logging.INFO, "ppcls_light"):
        run.fit()
    changed = [
        [not np.array_equal(one["fc.weight"], other["fc.weight"]) for one, other in zip(states, states[1:])]
        for states in (history, averages)
    ]
    assert changed == [[True, False, False, True, True, True]] * 2
    assert all(np.array_equal(history[1][key], history[3][key]) for key in history[1])
    # The update after those left out is the second one: decay 2/11.
    mean = averages[3]["fc.weight"] * 2 / 11 + history[4]["fc.weight"] * 9 / 11
    np.testing.assert_allclose(averages[4]["fc.weight"], mean, rtol=1e-5, atol=1e-7)
    lines = [record.getMessage() for record in caplog.records if "[Iter: " in record.getMessage()]
    counts = [line.split("skipped updates: ")[1] for line in lines if "skipped" in line]
    assert counts == ["1", "2", "2", "2", "2"]
    states = checkpoint.load(tmp_path / "output/latest").states
    assert (states["scaler"]["skipped"], states["step"]) == (2, 6)
    assert float(states["scaler"]["scale"][0]) == 128.0 / 4


def test_a_loss_that_is_not_finite_stops_under_loss_scaling_too(scaler_on_cpu, config_file):
    run = trainer(config_file)
    run.precision = Precision(AMPConfig(**DYNAMIC), "gpu")
    batch = next(iter(run.reader.loader.epoch(0)))
    with pytest.raises(UserError, match=r"is nan at step 0 .*rank 0.*images: train/\d\d.png"):
        run.train_step(batch._replace(images=np.full_like(batch.images, np.nan)))
    assert run.precision.skipped == 0


def test_synchronised_batch_norms_of_several_processes_are_refused_on_cpu(config_file):
    run = trainer(config_file, "Arch.use_sync_bn=true")  # one process has all images of a batch
    with pytest.raises(DeviceError, match=r"Paddle has none on CPU; use -o Arch.use_sync_bn=false"):
        synchronise_batch_norms(run.model, Runtime("cpu", 0, 2))
