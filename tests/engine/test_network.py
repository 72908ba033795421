"""A training on the project's CPU operators, or as a compiled graph, and the network that leaves it."""

import numpy as np
import paddle
import pytest

from ppcls_light import create_model
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from ppcls_light.export import export_model
from ppcls_light.export.static import save_static

FAMILIES = ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS"]


@pytest.fixture
def in_float64():
    """New networks and their arithmetic are of 64 bits, which no operator of ours takes."""
    before = paddle.get_default_dtype()
    yield lambda: paddle.set_default_dtype("float64")
    paddle.set_default_dtype(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_is_that_of_float64(own_operators, in_float64, name):
    """Loss, running statistics and gradients; dropout draws the same from the same seed."""
    paddle.seed(0)
    x, labels = paddle.randn([3, 3, 64, 64]), paddle.to_tensor([0, 3, 1])
    model = create_model(name, class_num=5)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    ours, gradients, running = a_step(model, x, labels)
    in_float64()
    model = create_model(name, class_num=5)
    model.set_state_dict({key: value.astype("float64") for key, value in state.items()})
    exact, expected, expected_running = a_step(model, x.astype("float64"), labels)
    assert ours == pytest.approx(exact, rel=1e-5)
    assert list(gradients) == list(expected)
    # Of two sums that are equal but for rounding, MicroNet's activation takes either, which some gradients show. What a
    # wrong kernel changes, most layers show: the median of theirs is the sharper bound.
    tolerance = 5e-2 if name.startswith("MicroNet") else 1e-4
    largest = max(np.abs(value).max() for value in expected.values())
    errors = []
    for key, value in expected.items():
        assert np.abs(gradients[key] - value).max() <= tolerance * largest, key
        errors.append(np.linalg.norm(gradients[key] - value) / np.linalg.norm(value))
    assert np.median(errors) <= 1e-4
    for key, value in expected_running.items():
        np.testing.assert_allclose(running[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def a_step(model, x, labels):
    """Return loss, gradients and running statistics of a training step."""
    model.train()
    paddle.seed(1)
    loss = paddle.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    gradients = {key: p.grad.numpy() for key, p in model.named_parameters() if p.grad is not None}
    return float(loss), gradients, {k: v.numpy() for k, v in model.state_dict().items() if "._" in k}


def test_the_network_that_was_trained_exports_as_paddles_operators(
    own_operators, config_file, tmp_path, caplog
):
    caplog.set_level("INFO")
    run = Trainer(load_config(config_file), Runtime("cpu"))
    assert "CPU operators: the project's" in caplog.text
    run.train_step(next(run.reader.loader.epoch(0)))
    folder = tmp_path / "static"
    folder.mkdir()
    if save_static(run.model, str(folder), [3, 32, 32]) == "json":
        graph = (folder / "inference.json").read_text()
    else:  # Paddle 2 also lists there every operator that the process knows
        program = paddle.jit.load(str(folder / "inference")).program()
        graph = " ".join(op.type for op in program.global_block().ops)
    assert "depthwise_conv2d" in graph
    assert "ppcls" not in graph


def test_evaluation_is_on_the_same_operators_and_agrees(own_operators):
    model = create_model("PPLCNet_x0_25", class_num=5)
    model.eval()
    x = paddle.randn([2, 3, 64, 64])
    with paddle.no_grad():
        ours = model(x).numpy()
        own_operators.disable()
        np.testing.assert_allclose(ours, model(x).numpy(), atol=1e-5)


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, overrides), Runtime("cpu"))


def losses_of_an_epoch(run):
    run.model.train()
    losses = []
    for batch in run.reader.loader.epoch(0):
        losses.append(float(run.train_step(batch)[-1]["loss"]))
    return losses


@pytest.mark.parametrize(
    "arch",
    [
        "{name: PPLCNet_x0_25, class_num: 3, stride_list: [1, 2, 2, 2, 2]}",
        pytest.param("{name: MicroNet_M0, class_num: 3}", marks=pytest.mark.slow),
        pytest.param(
            "{name: FasterNet_T0, class_num: 3, depths: [1, 1, 2, 1], drop_path_rate: 0.2}",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "{name: EdgeNeXt_XX_Small, class_num: 3, depths: [1, 2, 2, 2], drop_path_rate: 0.2}",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_losses_are_those_of_dygraph(config_file, arch):
    """With dropout and stochastic depth; what is scored, saved and exported is the network itself."""
    # A low rate: a high one makes the last bit of a step the first digit of a later one.
    overrides = [f"Arch={arch}", "Optimizer.lr={name: ConstLR, learning_rate: 0.005}"]
    plain, static = (
        trainer(config_file, *overrides, f"Global.to_static={value}") for value in ("false", "true")
    )
    names = list(static.model.state_dict())
    expected, actual = losses_of_an_epoch(plain), losses_of_an_epoch(static)
    np.testing.assert_allclose(actual, expected, rtol=3e-3)
    assert len(set(actual)) == 6
    assert list(static.model.state_dict()) == list(plain.model.state_dict()) == names
    plain.model.set_state_dict(static.model.state_dict())
    assert static.evaluate()["loss"] == pytest.approx(plain.evaluate()["loss"], rel=1e-6)
    assert losses_of_an_epoch(static)[0] == pytest.approx(losses_of_an_epoch(plain)[0], rel=1e-5)


@pytest.mark.slow
def test_the_network_exports_after_static_training(config_file, tmp_path):
    run = trainer(config_file, "Global.to_static=true")
    losses_of_an_epoch(run)
    ops = [("DecodeImage", {}), ("ResizeImage", {"size": 32})]
    ops.append(("NormalizeImage", {"scale": 1 / 255, "order": ""}))
    report = export_model(run.scored_model(), tmp_path / "inference", (3, 32, 32), ops)
    assert report.max_abs_diff <= 1e-5
    losses_of_an_epoch(run)  # goes on training


def test_the_flag_that_crashes_it_is_refused(config_file):
    paddle.set_flags({"FLAGS_use_mkldnn": True})
    try:
        with pytest.raises(ConfigError, match="unset that variable"):
            trainer(config_file, "Global.to_static=true")
    finally:
        paddle.set_flags({"FLAGS_use_mkldnn": False})
