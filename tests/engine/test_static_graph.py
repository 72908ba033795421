"""`Global.to_static`: the same training as a compiled graph."""

import numpy as np
import paddle
import pytest

from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from ppcls_light.export import export_model


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
        pytest.param("{name: FasterNet_T0, class_num: 3, drop_path_rate: 0.2}", marks=pytest.mark.slow),
        pytest.param("{name: EdgeNeXt_XX_Small, class_num: 3, drop_path_rate: 0.2}", marks=pytest.mark.slow),
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
