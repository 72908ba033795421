"""Distillation from the YAML to the student's export."""

import json
import re

import numpy as np
import paddle
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.config import dump_config, load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.models import create_model
from ppcls_light.weights import read_weights, write_weights
from tests.engine.test_network import losses_of_an_epoch

STRIDES = [1, 2, 2, 2, 2]


@pytest.fixture
def distilling(config_file, tmp_path):
    """`config_file` with PPLCNet_x0_35 as the frozen teacher of PPLCNet_x0_25, written as PaddleClas writes it."""
    paddle.seed(1)
    teacher = create_model("PPLCNet_x0_35", class_num=3, stride_list=STRIDES)
    write_weights(tmp_path / "teacher.pdparams", {k: v.numpy() for k, v in teacher.state_dict().items()})
    content = yaml.safe_load(config_file.read_text())
    content["Global"]["epochs"] = 2
    content["Arch"] = {
        "name": "DistillationModel",
        "class_num": 3,
        "pretrained_list": [str(tmp_path / "teacher.pdparams"), None],
        "freeze_params_list": [True, False],
        "infer_model_name": "Student",
        "models": [
            {"Teacher": {"name": "PPLCNet_x0_35", "class_num": 3, "stride_list": STRIDES}},
            {
                "Student": {
                    "name": "PPLCNet_x0_25",
                    "class_num": 3,
                    "stride_list": STRIDES,
                    "pretrained": False,
                }
            },
        ],
    }
    content["Loss"]["Train"] = [
        {"DistillationDMLLoss": {"weight": 1.0, "model_name_pairs": [["Student", "Teacher"]]}},
        {"DistillationGTCELoss": {"weight": 0.5, "model_names": ["Student"]}},
    ]
    content["Metric"] = {
        split: [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}}]
        for split in ("Train", "Eval")
    }
    path = tmp_path / "distill.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.slow
def test_train_resume_evaluate_and_export_the_student(distilling, tmp_path):
    jobs.train(load_config(distilling, ["Global.epochs=1"]))
    jobs.train(load_config(distilling, ["Global.checkpoints=auto", "Global.resume_schedule=new"]))
    output = tmp_path / "output"
    weights = read_weights(output / "latest.pdparams")
    given = read_weights(tmp_path / "teacher.pdparams")
    for key, value in given.items():
        np.testing.assert_array_equal(weights[f"Teacher.{key}"], value)
    student = {k[len("Student.") :]: v for k, v in weights.items() if k.startswith("Student.")}
    alone = read_weights(output / "latest_student.pdparams")
    assert alone.keys() == student.keys()
    assert all(np.array_equal(alone[key], student[key]) for key in alone)

    jobs.evaluate(
        load_config(distilling, [f"Global.pretrained_model={output}/latest"]), str(tmp_path / "whole.jsonl")
    )
    plain = ["Arch={name: PPLCNet_x0_25, class_num: 3, stride_list: [1, 2, 2, 2, 2]}"]
    metric = ["Metric={Eval: [{TopkAcc: {topk: [1, 2]}}]}", "Loss={}"]
    config = load_config(
        distilling, [*plain, *metric, f"Global.pretrained_model={output}/latest_student.pdparams"]
    )
    jobs.evaluate(config, str(tmp_path / "student.jsonl"))
    assert (tmp_path / "whole.jsonl").read_text() == (tmp_path / "student.jsonl").read_text()

    jobs.export(load_config(distilling, ["Global.checkpoints=auto"]))
    bundle = yaml.safe_load((tmp_path / "inference/inference.yml").read_text())
    assert bundle["Global"]["model_name"] == "PP-LCNet_x0_25"  # PaddleX' spelling
    assert json.loads((tmp_path / "whole.jsonl").read_text().splitlines()[0])["label"] == 0


def test_the_step_s_loss_is_the_hand_computed_one(distilling):
    config = load_config(distilling, ["Arch.models.1.Student.dropout_prob=0.0"])
    trainer = Trainer(config, Runtime("cpu"))
    trainer.network.train()
    batch = next(iter(trainer.reader.loader.epoch(0)))
    images = paddle.to_tensor(batch.images)
    with paddle.no_grad():
        outputs = {name: logits.numpy().astype("float64") for name, logits in trainer.model(images).items()}
    p, q = (
        np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) for a in (outputs["Student"], outputs["Teacher"])
    )
    mutual = ((p * np.log(p / q)).sum(axis=1).mean() + (q * np.log(q / p)).sum(axis=1).mean()) / 2
    labels = -np.log(p[np.arange(len(p)), batch.labels]).mean()
    losses = trainer.train_step(batch)[-1]
    assert float(losses["DistillationDMLLoss"]) == pytest.approx(mutual, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(mutual + 0.5 * labels, rel=1e-4)


def test_the_config_survives_being_written(distilling, tmp_path):
    config = load_config(distilling)
    path = tmp_path / "again.yaml"
    path.write_text(dump_config(config))
    assert load_config(path).Arch == config.Arch


@pytest.mark.slow
def test_a_compiled_graph_takes_the_same_steps(distilling):
    """On the same operators: others round otherwise, which is 1e-7 of the first loss and 4 % of the sixth."""
    configs = (
        load_config(distilling, ["Global.cpu_ops=false", f"Global.to_static={value}"])
        for value in ("false", "true")
    )
    plain, static = (losses_of_an_epoch(Trainer(config, Runtime("cpu"))) for config in configs)
    assert len(plain) == 6
    assert static == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
def test_a_teacher_is_trained_as_the_error_without_one_says(distilling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["Arch.pretrained_list=null", "Global.epochs=1", "Global.overwrite=true"]
    with pytest.raises(ConfigError) as raised:
        jobs.train(load_config(distilling, options))
    of_teacher, of_student = re.findall(r"-o (\S+)", str(raised.value))
    plain = ["Arch={name: PPLCNet_x0_35, class_num: 3, stride_list: [1, 2, 2, 2, 2]}", "Loss={}", "Metric={}"]
    jobs.train(load_config(distilling, [*plain, "Global.epochs=1", of_teacher]))
    jobs.train(load_config(distilling, [*options, of_student]))
    weights = read_weights(tmp_path / "output/latest.pdparams")
    for key, value in read_weights(tmp_path / "output/PPLCNet_x0_35/best_model.pdparams").items():
        np.testing.assert_array_equal(weights[f"Teacher.{key}"], value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Arch.freeze_params_list=[true, true]", "Student is frozen|freezes Student"),
        ("Arch.freeze_params_list=[true]", "freeze_params_list has 1 entries for 2 models"),
        ("Arch.infer_model_name=Pupil", "no model is called 'Pupil'; use one of Teacher, Student"),
        ("Arch.class_num=4", r"class_num is 4.*-o Arch\.models\.0\.Teacher\.class_num=4 -o Arch\.models\.1"),
        ("Arch.models.0.Teacher.name=ResNet50_vb", "unknown model 'ResNet50_vb'; did you mean 'ResNet50_vd'"),
        ("Metric.Eval.0.DistillationTopkAcc.model_key=Teacher", "no network called 'Teacher' is evaluated"),
        ("Arch.temprature=1", "unknown key Arch.temprature"),
    ],
)
def test_what_does_not_fit_is_said(distilling, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(distilling, [override])


def test_only_training_needs_the_teacher(distilling, tmp_path, root, run_tool, capsys):
    without = "Arch.pretrained_list=null"
    with pytest.raises(
        ConfigError,
        match=r"Teacher is frozen but has no weights.*; train PPLCNet_x0_35 on these classes first with "
        r"-o Global\.output_dir=(\S+) and then add -o Arch\.models\.0\.Teacher\.pretrained=\1/best_model$",
    ):
        jobs.train(load_config(distilling, [without]))
    assert not list((tmp_path / "output").glob("*.pd*"))
    with pytest.raises(
        WeightsError, match=r"frozen.*PPLCNet_\w+ in1k: no weights: .*PPCLS_LIGHT_OFFLINE is set"
    ):
        jobs.train(load_config(distilling, [without, "Arch.models.0.Teacher.pretrained=true"]))
    with pytest.raises(SystemExit) as stop:
        run_tool("train", "-c", distilling, "-o", without, "--print-config")
    assert stop.value.code == 0
    assert "DistillationModel" in capsys.readouterr().out
    student = create_model("PPLCNet_x0_25", class_num=3, stride_list=STRIDES)
    write_weights(tmp_path / "student.pdparams", student.state_dict())
    config = load_config(distilling, [without, f"Global.pretrained_model={tmp_path}/student"])
    assert 0 <= jobs.evaluate(config)["top1"] <= 1
    assert len(jobs.infer(config)) == 11
