"""Training with frozen parts: `Arch.freeze` and `Global.head_epochs`, with everything that goes with a training."""

import numpy as np
import pytest

from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.weights import read_weights, write_weights
from tests.engine.test_network import losses_of_an_epoch
from tests.engine.test_trainer import assert_same_bits, log_lines, state, trainer

ARCH = {"class_num": 3, "stride_list": [1, 2, 2, 2, 2]}
HEAD = {"fc.weight", "fc.bias"}
EVERYTHING = (
    "EMA.decay=0.9",
    "Global.update_freq=2",
    "Loss.Train=[{CELoss: {weight: 1.0, epsilon: 0.1, class_weights: balanced}}]",
    "Global.eval_during_train=false",
)
ADAMW = "Optimizer={name: AdamW, lr: {name: Cosine, learning_rate: 0.002, warmup_epoch: 1}}"
DISTILLATION = (
    "Arch={name: DistillationModel, class_num: 3, freeze_params_list: [true, false], models: "
    "[{Teacher: {name: PPLCNet_x0_25, class_num: 3, pretrained: %s}}, {Student: {name: PPLCNet_x0_25, freeze: stem, "
    "class_num: 3, pretrained: %s}}]}"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "first.pdparams"
    write_weights(path, create_model("PPLCNet_x0_25", **ARCH).state_dict())
    return str(path)


def kept(first, then):
    """Return the keys whose values are the same."""
    return {key for key in first if np.array_equal(first[key], then[key])}


def test_a_frozen_backbone_stays_bit_for_bit_and_the_head_learns(config_file, tmp_path, weights):
    start = f"Global.pretrained_model={weights}"
    trainer(config_file, "Arch.freeze=backbone", start, "Global.epochs=1", *EVERYTHING).fit()
    first, found = read_weights(weights), checkpoint.load(tmp_path / "output/latest")
    assert kept(first, found.weights) == kept(first, found.raw) == first.keys() - HEAD
    assert {key.rsplit(".", 1)[0] for key in found.optimizer} == HEAD
    assert found.states["learned"] == 1280 * 3 + 3


def test_a_number_freezes_so_many_stages_and_the_log_counts(config_file, weights):
    runs = []
    lines = log_lines(
        lambda: runs.append(trainer(config_file, "Arch.freeze=4", f"Arch.pretrained={weights}"))
    )
    # Stem 232, blocks2 to blocks5 168 + 712 + 2,192 + 32,288; blocks6, last_conv and fc learn.
    assert "Arch.freeze: 208,435 of 244,027 parameters learn, 35,592 are frozen" in lines
    losses_of_an_epoch(runs[0])
    now = {key: value.numpy() for key, value in runs[0].model.state_dict().items()}
    frozen = ("conv1.", "blocks2.", "blocks3.", "blocks4.", "blocks5.")
    first = read_weights(weights)
    assert kept(first, now) == {key for key in first if key.startswith(frozen)}


def test_the_head_comes_first_and_a_resume_anywhere_is_exact(config_file, tmp_path, weights, stop_after):
    start = f"Global.pretrained_model={weights}"
    options = [ADAMW, *EVERYTHING, "Global.head_epochs=1", "Global.epochs=2", start]
    whole = tmp_path / "whole"
    lines = log_lines(trainer(config_file, *options, f"Global.output_dir={whole}").fit)
    told = [line for line in lines if line.startswith("Global.head_epochs")]
    assert told == [
        "Global.head_epochs: epoch 1: 3,843 of 244,027 parameters learn, 240,184 are frozen",
        "Global.head_epochs: from epoch 2 on: 244,027 of 244,027 parameters learn, 0 are frozen",
    ]
    first = read_weights(weights)
    found = checkpoint.load(whole / "epoch_1")
    assert kept(first, found.trained) == first.keys() - HEAD
    assert not kept(first, checkpoint.load(whole / "epoch_2").trained)
    for steps in (2, 3, 4):  # inside the first epoch, at its end, inside the second
        output = f"Global.output_dir={tmp_path}/{steps}"
        stop_after(trainer(config_file, *options, output), steps)
        trainer(config_file, *options, output, "Global.checkpoints=auto").fit()
        assert_same_bits(state(whole), state(tmp_path / str(steps)))


def test_other_parts_on_a_resume_are_refused(config_file, tmp_path, weights):
    options = [f"Global.pretrained_model={weights}", "Global.epochs=1"]
    trainer(config_file, *options, "Arch.freeze=backbone").fit()
    with pytest.raises(ConfigError, match=r"was made while 3,843 parameters learned, and now 244,027 do"):
        trainer(config_file, *options, "Global.checkpoints=auto")


@pytest.mark.slow
def test_a_compiled_graph_freezes_as_well(config_file, weights):
    options = [f"Global.pretrained_model={weights}", "Arch.freeze=2", "Arch.dropout_prob=0"]
    runs = [trainer(config_file, *options, f"Global.to_static={value}") for value in ("false", "true")]
    expected, actual = map(losses_of_an_epoch, runs)
    np.testing.assert_allclose(actual, expected, rtol=3e-3)
    first = read_weights(weights)
    frozen = {key for key in first if key.startswith(("conv1.", "blocks2.", "blocks3."))}
    for run in runs:
        assert kept(first, {key: value.numpy() for key, value in run.model.state_dict().items()}) == frozen


def test_a_student_has_frozen_parts_of_its_own(config_file, weights):
    metrics = ["Metric.Train=[]", "Metric.Eval=[{DistillationTopkAcc: {topk: 1}}]"]
    loss = "Loss.Train=[{DistillationKLDivLoss: {weight: 1.0, model_name_pairs: [[Student, Teacher]]}}]"
    run = trainer(config_file, DISTILLATION % (weights, weights), *metrics, loss)
    losses_of_an_epoch(run)
    now = {key: value.numpy() for key, value in run.model.state_dict().items()}
    first = {
        f"{name}.{key}": value
        for name in ("Teacher", "Student")
        for key, value in read_weights(weights).items()
    }
    assert kept(first, now) == {key for key in first if key.startswith(("Teacher.", "Student.conv1."))}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["Arch.freeze=stem"], r"-o Arch.freeze=stem: Arch.freeze: there are no weights to start from"),
        (["Global.head_epochs=1"], r"Global.head_epochs: there are no weights to start from"),
        (["Arch.freeze=6", "Arch.pretrained={}"], r"Arch.freeze: PPLCNet_x0_25 has 5 stages, not 6"),
        (["Arch.freeze=head"], r"Arch.freeze: expected one of backbone, stem or .*, got 'head'"),
        (["Global.head_epochs=1", "Arch.freeze=backbone"], r"Global.head_epochs: with Arch.freeze: backbone"),
        (["Global.head_epochs=1", "Global.to_static=true"], r"Global.head_epochs: not with Global.to_static"),
        (["Arch.freeze=1", "Slim.quant.name=pact"], r"Arch.freeze: not with Slim.quant"),
        ([DISTILLATION.replace("PPLCNet_x0_25, class_num", "PPLCNet_x0_25, freeze: 1, class_num") % ("a", "b")],
         r"models.0.Teacher.freeze: freeze_params_list freezes all of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_is_one_line(config_file, weights, options, message):
    with pytest.raises(ConfigError, match=message):
        trainer(config_file, *(option.format(weights) if "{}" in option else option for option in options))


def test_factors_by_stage_are_kept_with_the_schedule_on_a_resume(config_file, weights):
    trainer(config_file, "Optimizer.lr.layer_decay=0.5", "Global.epochs=1").fit()
    resume = ["Global.epochs=1", "Global.checkpoints=auto", "Optimizer.lr.layer_decay=0.1"]
    with pytest.raises(ConfigError, match=r"lr.layer_decay 0.5 -> 0.1; say which one holds"):
        trainer(config_file, *resume)
    for choice, factor in (("keep", 0.5), ("new", 0.1)):
        run = trainer(config_file, *resume, f"Global.resume_schedule={choice}")
        assert run.model.blocks6[0].pw_conv.conv.weight.optimize_attr["learning_rate"] == factor
    with pytest.raises(ConfigError, match=r"Optimizer.lr.stage_factors: 1 factors, but PPLCNet_x0_25 has"):
        trainer(config_file, "Optimizer.lr.stage_factors=[1.0]")


def test_the_gradients_of_a_head_alone_are_not_left_to_data_parallel(config_file, weights):
    """Which was made for all that learns at last, and would wait for the rest; on CPU nothing ever is."""
    run = trainer(config_file, "Global.head_epochs=1", f"Global.pretrained_model={weights}")
    run.runtime, run._on_cpu = Runtime("gpu", 0, 2), False
    found = []
    for epoch in (0, 1):
        run.freezing.set(epoch)
        found.append(run._averages_gradients)
    assert found == [True, False]


def test_nothing_but_the_head_in_all_epochs_is_said(config_file, weights):
    options = ["Global.head_epochs=4", f"Global.pretrained_model={weights}"]
    lines = log_lines(lambda: trainer(config_file, *options).fit())
    assert any("the head alone learns in all 4 epochs" in line for line in lines)
    assert not any("from epoch 5 on" in line for line in lines)


@pytest.mark.parametrize(
    ("freeze", "key"), [("freeze: stem, ", r"models\.0\.Teacher\.freeze"), ("", r"Global\.head_epochs")]
)
def test_the_student_s_weights_are_not_those_of_a_frozen_partner(config_file, weights, freeze, key):
    network = "name: PPLCNet_x0_25, class_num: 3, stride_list: [1, 2, 2, 2, 2]"
    mutual = (
        "Arch={name: DistillationModel, class_num: 3, models: "
        f"[{{Teacher: {{{freeze}{network}}}}}, {{Student: {{{network}}}}}]}}"
    )
    options = [mutual, f"Global.pretrained_model={weights}", f"Global.head_epochs={0 if freeze else 1}"]
    with pytest.raises(ConfigError, match=rf"{key}: .* weights of Student alone.*Teacher would be random"):
        trainer(config_file, *options)
