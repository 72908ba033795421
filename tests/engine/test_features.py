"""Two networks that compare their feature maps while both learn, as PaddleClas' UDML recipes have them."""

import numpy as np
import paddle
import pytest
import yaml

from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from tests.engine.test_network import losses_of_an_epoch

NETWORK = {
    "name": "PPLCNet_x0_25",
    "class_num": 3,
    "stride_list": [1, 2, 2, 2, 2],
    "return_patterns": ["blocks3", "blocks4"],
}
PAIRS = [["Student", "Teacher"]]
LOSSES = [
    {"DistillationGTCELoss": {"weight": 1.0, "key": "logits", "model_names": ["Student", "Teacher"]}},
    {"DistillationDMLLoss": {"weight": 1.0, "key": "logits", "model_name_pairs": PAIRS}},
    {"DistillationDistanceLoss": {"weight": 0.5, "key": "blocks4", "model_name_pairs": PAIRS}},
]
FEATURE = "Loss.Train.2.DistillationDistanceLoss"


@pytest.fixture
def mutual(config_file, tmp_path):
    """`config_file` with two networks that learn, one of which is evaluated."""
    content = yaml.safe_load(config_file.read_text())
    content["Global"]["epochs"] = 1
    content["Arch"] = {
        "name": "DistillationModel",
        "class_num": 3,
        "pretrained_list": None,
        "freeze_params_list": [False, False],
        "use_ssld": True,
        "models": [{"Teacher": dict(NETWORK)}, {"Student": {**NETWORK, "return_stages": True}}],
    }
    content["Loss"]["Train"] = LOSSES
    path = tmp_path / "mutual.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def trainer(path, *overrides):
    return Trainer(load_config(path, overrides), Runtime("cpu"))


@pytest.mark.parametrize(
    ("mode", "distance"),
    [
        ("l2", lambda d: d**2),
        ("l1", np.abs),
        ("smooth_l1", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)),
    ],
)
def test_the_loss_is_the_mean_distance_of_the_maps_that_the_next_stage_takes(mutual, mode, distance):
    run = trainer(mutual, f"{FEATURE}.mode={mode}", "Arch.models.0.Teacher.dropout_prob=0.0")
    run.model.train()
    batch = next(iter(run.reader.loader.epoch(0)))
    taken = {}
    for name in ("Student", "Teacher"):
        getattr(run.model, name).blocks5.register_forward_pre_hook(
            lambda layer, inputs, name=name: taken.update({name: inputs[0].numpy().astype("float64")})
        )
    logits, _, losses = run.train_step(batch)
    expected = 0.5 * distance(taken["Student"] - taken["Teacher"]).mean()
    assert expected > 0
    assert float(losses["DistillationDistanceLoss"]) == pytest.approx(expected, rel=1e-5)
    assert list(logits.shape) == [len(batch.labels), 3]


def test_the_gradient_reaches_both_up_to_the_map_and_evaluation_is_the_student_s(mutual):
    alone = ["Loss.Train.0.DistillationGTCELoss.weight=0", "Loss.Train.1.DistillationDMLLoss.weight=0"]
    run = trainer(mutual, *alone)
    assert {key.split(".")[0] for key in run.model.state_dict()} == {"Teacher", "Student"}
    run.model.train()
    batch = next(iter(run.reader.loader.epoch(0)))
    outputs = run.model(paddle.to_tensor(batch.images))
    run.criterion(outputs, paddle.to_tensor(batch.labels))[0].backward()
    for name in ("Teacher", "Student"):
        stages = {
            key.split(".")[0]
            for key, parameter in getattr(run.model, name).named_parameters()
            if parameter.grad is not None and parameter.grad.abs().sum() > 0
        }
        assert stages == {"conv1", "blocks2", "blocks3", "blocks4"}
    run.model.eval()
    images = paddle.randn([1, 3, 32, 32])
    np.testing.assert_array_equal(run.model(images).numpy(), run.model.Student(images).numpy())


@pytest.mark.slow
def test_a_compiled_graph_compares_the_same_and_draws_each_network_s_dropout(mutual):
    """Bit for bit: independent operators that ran in any order would draw each other's random numbers."""
    plain, static = (
        losses_of_an_epoch(trainer(mutual, "Global.cpu_ops=false", f"Global.to_static={value}"))
        for value in ("false", "true")
    )
    assert static == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
def test_an_average_is_kept_and_a_resumed_run_goes_on_to_the_bit(mutual, tmp_path, stop_after):
    def end(folder):
        return {name: (folder / name).read_bytes() for name in ("latest.pdparams", "latest.pdema")}

    options = [mutual, "EMA.decay=0.9"]
    trainer(*options, f"Global.output_dir={tmp_path}/whole").fit()
    parts = [*options, f"Global.output_dir={tmp_path}/parts"]
    stop_after(trainer(*parts), 2)
    trainer(*parts, "Global.checkpoints=auto").fit()
    assert end(tmp_path / "whole") == end(tmp_path / "parts")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            f"{FEATURE}.key=blocks5",
            r"-o Loss.*key=blocks5: Loss\.Train\.2\.DistillationDistanceLoss\.key: Student returns no 'blocks5' \(its "
            r"features: blocks3, blocks4\); add it to Arch\.models\.1\.Student\.return_patterns",
        ),
        (
            "Arch.models.0.Teacher.return_patterns=[bloks4]",
            r"Arch\.models\.0\.Teacher: return_patterns: PPLCNet_x0_25 has no layer 'bloks4'; did you mean 'blocks4'",
        ),
        (
            "Arch.models.0.Teacher.return_patterns=null",
            r"Teacher returns no 'blocks4' \(its features: none\)",
        ),
        (
            "Arch.models.0.Teacher.name=PPLCNet_x0_5",
            r"'blocks4' of Student is \[32, 8, 8\] for an image and that of Teacher \[64, 8, 8\]; compare",
        ),
        (
            "Arch={name: PPLCNet_x0_25, return_patterns: [blocks4]}",
            r"Arch\.return_patterns: only losses of a distillation take features.*leave it out",
        ),
        (
            "Loss.Train.1.DistillationDMLLoss.key=blocks4",
            r"Loss\.Train\.1\.DistillationDMLLoss\.key: expected 'logits', got 'blocks4'",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_before_a_training(mutual, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message) as raised:
        trainer(mutual, override, "Global.eval_during_train=false")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "output").exists()


def test_a_graph_has_no_features(taught):
    loss = "DistillationDistanceLoss: {weight: 1.0, key: blocks4, model_name_pairs: [[Student, Teacher]]}"
    with pytest.raises(
        ConfigError, match=r"key: Teacher is no network here and has no features; use key: logits"
    ):
        trainer(taught, f"Loss.Train=[{loss}]", "Arch.models.1.Student.return_patterns=blocks4")
