"""Training: the resume contract, what stops a run, and what it leaves behind."""

import logging
import os
import shutil
import signal

import numpy as np
import pytest

from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import CollectiveStopSignals, Runtime
from ppcls_light.engine.log import LOGGER
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, UserError

CPU = Runtime("cpu")


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, overrides), CPU)


def state(output_dir, name="latest"):
    """Return everything that a checkpoint holds as {key: array}, except where it was written."""
    found = checkpoint.load(os.path.join(output_dir, name))
    states = {key: np.asarray(found.states[key]) for key in ("epoch", "position", "step", "best")}
    return {**found.weights, **found.optimizer, **states}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert np.array_equal(one[key], other[key]), key


@pytest.mark.parametrize("optimizer", ["Momentum", "AdamW"])
@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs_and_two_resumed_equal_four_bit_for_bit(
    config_file, tmp_path, optimizer, workers, stop_after
):
    overrides = [f"DataLoader.Train.loader.num_workers={workers}"]
    if optimizer == "AdamW":
        overrides.append("Optimizer={name: AdamW, lr: {name: Cosine, learning_rate: 0.002, warmup_epoch: 1}}")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(config_file, *overrides, f"Global.output_dir={whole}").fit()
    interrupted = trainer(config_file, *overrides, f"Global.output_dir={parts}")
    stop_after(interrupted, steps=12)
    trainer(config_file, *overrides, f"Global.output_dir={parts}", "Global.checkpoints=auto").fit()
    assert_same_bits(state(whole), state(parts))


def test_resume_inside_an_epoch_is_exact_with_or_without_suffix(config_file, tmp_path, stop_after):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trainer(config_file, f"Global.output_dir={whole}").fit()
    stop_after(trainer(config_file, f"Global.output_dir={stopped}"), steps=8)
    assert state(stopped)["position"] == 2
    for given in ("latest", "latest.pdparams", "latest.pdstates"):
        parts = shutil.copytree(stopped, tmp_path / f"from {given}")
        trainer(config_file, f"Global.output_dir={parts}", f"Global.checkpoints={parts / given}").fit()
        assert_same_bits(state(whole), state(parts))


@pytest.mark.parametrize("earlier_version", [False, True])
def test_a_run_stopped_at_the_last_step_of_an_epoch_goes_on_with_its_evaluation(
    config_file, tmp_path, stop_after, earlier_version
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(config_file, f"Global.output_dir={whole}", "Global.epochs=2").fit()
    stop_after(trainer(config_file, f"Global.output_dir={parts}", "Global.epochs=2"), steps=6)
    found = checkpoint.load(parts / "latest")
    assert [found.states[name] for name in ("epoch", "position", "step", "evaluated")] == [1, 0, 6, False]
    if earlier_version:  # which counted that as the end of the epoch before
        states = {**found.states, "epoch": 0, "position": 6, "evaluated": True}
        checkpoint.save(str(parts / "latest"), found.weights, found.optimizer, states)
    resumed = trainer(config_file, f"Global.output_dir={parts}", "Global.epochs=2", "Global.checkpoints=auto")
    lines = log_lines(resumed.fit)
    assert [line for line in lines if "[Train][Epoch 1/2][Avg]" in line] == []
    assert any("[Eval][Epoch 1][Avg]" in line for line in lines)
    assert_same_bits(state(whole), state(parts))


@pytest.mark.parametrize("save_interval", [1, 5])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_crash_while_evaluating_loses_neither_the_epoch_nor_its_score(
    config_file, tmp_path, epoch, save_interval
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    overrides = ["Global.epochs=2", f"Global.save_interval={save_interval}"]
    trainer(config_file, *overrides, f"Global.output_dir={whole}").fit()
    run = trainer(config_file, *overrides, f"Global.output_dir={parts}")
    evaluate = run.evaluate

    def crash():
        if run.position.epoch == epoch:
            raise SystemExit
        return evaluate()

    run.evaluate = crash
    with pytest.raises(SystemExit):
        run.fit()
    resumed = trainer(config_file, *overrides, f"Global.output_dir={parts}", "Global.checkpoints=auto")
    assert resumed.position.step == 6 * epoch
    resumed.fit()
    for name in ("latest", "best_model"):
        assert_same_bits(state(whole, name), state(parts, name))


def log_lines(function):
    """Return the messages that `function()` logs."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        function()
    finally:
        LOGGER.removeHandler(handler)
    return records


def test_training_learns_and_the_best_model_is_the_best(config_file, tmp_path):
    adamw = "Optimizer={name: AdamW, lr: {name: Cosine, learning_rate: 0.01, warmup_epoch: 1}}"
    run = trainer(config_file, "Global.epochs=16", adamw)
    run.fit()
    assert run.best >= 0.9
    best = checkpoint.load(tmp_path / "output/best_model").states
    assert best["best"] == run.best
    assert best["class_names"] == ["dark", "bright", "striped"]


def test_resume_keeps_the_best_metric(config_file, tmp_path):
    first = trainer(config_file, "Global.epochs=4")
    first.fit()
    resumed = trainer(config_file, "Global.epochs=4", "Global.checkpoints=auto")
    assert resumed.best == first.best
    assert resumed.position.step == first.position.step == 24


def test_a_changed_schedule_must_be_confirmed(config_file):
    trainer(config_file, "Global.epochs=1").fit()
    longer = ["Global.epochs=2", "Global.checkpoints=auto"]
    with pytest.raises(ConfigError, match=r"epochs 1 -> 2; say .*Global.resume_schedule=new"):
        trainer(config_file, *longer)
    with pytest.raises(ConfigError, match=r": lr.learning_rate 0.05 -> 0.1, epochs 1 -> 2; say"):
        trainer(config_file, *longer, "Optimizer.lr.learning_rate=0.1")
    new = trainer(config_file, *longer, "Global.resume_schedule=new")
    keep = trainer(config_file, *longer, "Global.resume_schedule=keep")
    plain = trainer(config_file, "Global.epochs=2", "Global.output_dir=/nonexistent")
    assert [new.schedule(step) for step in range(12)] == [plain.schedule(step) for step in range(12)]
    assert keep.schedule(5) != new.schedule(5) or keep.schedule(8) != new.schedule(8)


def test_keeping_a_schedule_needs_epochs_of_the_same_length(config_file):
    trainer(config_file, "Global.epochs=1").fit()
    shorter = [
        "Global.checkpoints=auto",
        "Global.resume_schedule=keep",
        "DataLoader.Train.sampler.batch_size=8",
    ]
    with pytest.raises(ConfigError, match="keep needs epochs of 6 steps, these have 3"):
        trainer(config_file, "Global.epochs=2", *shorter)


def test_a_non_finite_loss_stops_before_the_update_and_names_the_files(config_file):
    run = trainer(config_file)
    run.network.train()
    batch = next(iter(run.reader.loader.epoch(0)))
    before = trainable(run.model)
    poisoned = batch._replace(images=np.full_like(batch.images, np.nan))
    with pytest.raises(UserError, match=r"CELoss is nan at step 0 .*images: train/\d\d.png"):
        run.train_step(poisoned)
    assert_same_bits(before, trainable(run.model))


def trainable(model):
    """Return the weights that an optimizer changes; Paddle counts batch-norm statistics as parameters."""
    return {key: value.numpy().copy() for key, value in model.named_parameters() if not value.stop_gradient}


def test_mixed_batches_train_and_report_no_top_k(config_file, caplog):
    mix = (
        "DataLoader.Train.dataset.batch_transform_ops=[{OpSampler: {MixupOperator: {alpha: 0.2, prob: 0.5}, "
    )
    mix += "CutmixOperator: {alpha: 1.0, prob: 0.5}}}]"
    run = trainer(config_file, mix, "Global.epochs=1")
    run.fit()
    assert run.metrics == []
    assert np.isfinite(run.evaluate()["loss"])


def test_a_bad_training_image_is_left_out_and_too_many_stop_the_run(config_file, photos):
    (photos / "train/03.png").write_bytes(b"not an image")
    trainer(config_file, "Global.epochs=1", "DataLoader.Train.loader.max_bad=0.1").fit()
    for index in range(4, 12):
        (photos / f"train/{index:02d}.png").write_bytes(b"")
    again = ["Global.epochs=1", "Global.overwrite=true", "DataLoader.Train.loader.max_bad=0.1"]
    with pytest.raises(UserError, match="max_bad"):
        trainer(config_file, *again).fit()


def test_a_finished_run_says_so(config_file, tmp_path):
    trainer(config_file, "Global.epochs=1").fit()
    before = (tmp_path / "output/latest.pdparams").read_bytes()
    trainer(config_file, "Global.epochs=1", "Global.checkpoints=auto").fit()
    assert (tmp_path / "output/latest.pdparams").read_bytes() == before


def test_sigterm_may_come_again_as_the_launcher_sends_it_but_a_second_ctrl_c_ends_at_once():
    with CollectiveStopSignals() as stop:
        assert not stop.reached(CPU)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reached(CPU)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("DataLoader.Train.sampler.batch_size=5", "images_per_update 4 -> 5"),
        ("Global.seed=5", "seed 0 -> 5"),
        ("DataLoader.Train.sampler.balanced=true", "balanced False -> True"),
    ],
)
def test_inside_an_epoch_the_order_of_its_images_stays(config_file, tmp_path, change, shown):
    folder = f"Global.output_dir={tmp_path / 'run'}"
    whole = "DataLoader.Train.sampler.drop_last=false"
    half = trainer(config_file, folder, whole)
    half.position = half.position.at(0, 1)
    half.save("latest")
    resume = (folder, whole, "Global.checkpoints=auto", "Global.resume_schedule=new")
    with pytest.raises(ConfigError, match=rf"inside an epoch .* another order: {shown}; resume with"):
        trainer(config_file, *resume, change)
    # The same images an update, in the same order, whatever batches they come in.
    same = trainer(config_file, *resume, "DataLoader.Train.sampler.batch_size=2", "Global.update_freq=2")
    assert same.position.step == 1
    half.position = half.position.at(1, 0)
    half.save("latest")
    assert trainer(config_file, *resume, change).position.epoch == 1


def test_what_teaches_nothing_is_refused(config_file):
    for loss, message in (
        ("CELoss: {weight: 0}", "every weight of Train is 0"),
        ("CELoss: {weight: 1, class_weights: [0, 0, 0]}", "class_weights are all 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(config_file, [f"Loss.Train=[{{{loss}}}]"])


def test_a_loss_of_the_evaluation_that_cannot_be_is_said_before_training(config_file):
    pairs = "Loss.Eval=[{DistillationDMLLoss: {weight: 1, model_name_pairs: [[a, b]]}}]"
    with pytest.raises(ConfigError, match="there are no logits of 'a' here"):
        trainer(config_file, pairs)


def test_more_batches_an_update_than_an_epoch_has_are_said(config_file, caplog):
    trainer(config_file, "Global.update_freq=1000")
    assert "Global.update_freq 1000: an epoch has " in caplog.text


def test_the_first_evaluation_is_after_the_epoch_that_start_eval_epoch_names(config_file, tmp_path):
    lines = log_lines(trainer(config_file, "Global.epochs=2", "Global.start_eval_epoch=2").fit)
    assert [line[:15] for line in lines if line.startswith("[Eval]") and "[Avg]" in line] == [
        "[Eval][Epoch 2]"
    ]


def test_a_training_without_an_evaluation_says_that_it_keeps_no_best_model(config_file, caplog):
    trainer(config_file, "Global.epochs=2", "Global.start_eval_epoch=3")
    assert (
        "none of 2 epochs ends in an evaluation, so there will be no best_model; lower Global.start"
        in caplog.text
    )


def test_a_metric_that_says_nothing_is_said_once(config_file, caplog):
    trainer(config_file, "Metric.Eval.0.TopkAcc.topk=[1, 3]", "Global.epochs=2").fit()
    assert caplog.text.count("top3 of 3 classes is always 1.0") == 1


def test_use_ssld_without_published_weights_is_said_to_have_no_effect(config_file, caplog):
    trainer(config_file, "Arch.use_ssld=true")
    assert caplog.text.count("Arch.use_ssld has no effect") == 1
