"""`Global.update_freq`: several batches, one update."""

import numpy as np
import pytest

from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.network import build_model
from ppcls_light.engine.trainer import Trainer

# No batch norm, so that the gradients of two halves are those of the whole.
EDGENEXT = "Arch={name: EdgeNeXt_XX_Small, class_num: 3}"


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, overrides), Runtime("cpu"))


def weights(model):
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def run_epoch(run):
    """Train one epoch; return the weights after each batch."""
    run.model.train()
    after = []
    for batch in run.reader.loader.epoch(0):
        run.train_step(batch)
        after.append(weights(run.model))
    return after


@pytest.mark.parametrize("clip", ["clip_grad: 0.5", "clip_norm: 0.05", "clip_value: 0.001"])
def test_two_batches_make_the_update_of_one_of_twice_the_size(config_file, clip):
    optimizer = f"Optimizer={{name: Momentum, lr: {{name: ConstLR, learning_rate: 0.1}}, {clip}}}"
    whole = trainer(config_file, EDGENEXT, optimizer, "DataLoader.Train.sampler.batch_size=8")
    parts = trainer(config_file, EDGENEXT, optimizer, "Global.update_freq=2")
    start = weights(parts.model)
    expected, actual = run_epoch(whole), run_epoch(parts)
    assert (whole.position.steps_per_epoch, parts.position.steps_per_epoch) == (3, 3)
    assert (len(expected), len(actual)) == (3, 6)
    for key in start:
        np.testing.assert_array_equal(actual[0][key], start[key])  # no update between
        np.testing.assert_allclose(actual[-1][key], expected[-1][key], rtol=1e-4, atol=2e-6, err_msg=key)
    assert max(np.abs(actual[-1][key] - start[key]).max() for key in start) > 1e-4


def test_the_last_update_of_an_epoch_is_the_mean_of_the_batches_that_are_left(config_file):
    """Six batches by four: the last update has two, as if they were all there is."""
    sgd = "Optimizer={name: SGD, lr: {name: ConstLR, learning_rate: 0.1}}"
    four = trainer(config_file, EDGENEXT, sgd, "Global.update_freq=4")
    assert four.position.steps_per_epoch == 2
    after = run_epoch(four)
    two = trainer(config_file, EDGENEXT, sgd, "Global.update_freq=2")
    two.model.set_state_dict(after[3])
    two.model.train()
    for batch in two.reader.loader.epoch(0, start=4):
        two.train_step(batch)
    for key, value in weights(two.model).items():
        np.testing.assert_allclose(after[5][key], value, rtol=1e-5, atol=1e-7, err_msg=key)


def test_more_than_the_batches_of_an_epoch_make_one_update(config_file):
    run = trainer(config_file, "Global.update_freq=100", "Global.epochs=1")
    run.fit()
    assert (run.position.steps_per_epoch, run.position.step) == (1, 1)


def test_batches_of_one_update_have_their_own_dropout(config_file):
    run = trainer(config_file, "Global.update_freq=2")
    run.model.train()
    batches = run.reader.loader.epoch(0)
    first = next(batches)
    logits = [run.train_step(first._replace(number=number))[0].numpy() for number in (0, 1)]
    again = trainer(config_file, "Global.update_freq=2")
    again.model.train()
    np.testing.assert_array_equal(logits[0], again.train_step(first)[0].numpy())
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_an_update_whose_last_batch_cannot_be_read_is_left_out(config_file, photos):
    overrides = ["Global.update_freq=3", "DataLoader.Train.sampler.batch_size=2", "Global.epochs=1"]
    overrides += ["DataLoader.Train.loader.max_bad=0.2", "Optimizer.lr.warmup_epoch=0"]
    run = trainer(config_file, *overrides)
    unreadable = run.reader.loader.sampler.batches(0)[5].indices  # the last of the second update
    for index in unreadable:
        (photos / run.reader.images.name(int(index))).write_bytes(b"")
    seen, original = [], run.train_step

    def train_step(batch):
        before = weights(run.model)
        result = original(batch)
        changed = not np.array_equal(weights(run.model)["fc.weight"], before["fc.weight"])
        held = run.model.fc.weight.grad is not None and np.abs(run.model.fc.weight.grad.numpy()).max() > 0
        seen.append((batch.number, run.position.step, changed, held))
        return result

    run.train_step = train_step
    run.fit()
    assert [entry[0] for entry in seen] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert [entry[1] for entry in seen] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 5]
    assert [entry[0] for entry in seen if entry[2]] == [2, 8, 11, 12]
    assert run.position.step == 5


def test_ema_and_resume_inside_an_epoch_are_exact_between_updates(config_file, tmp_path):
    """The averaged weights are recomputed in numpy from those after every update, and survive a resume."""
    overrides = ["Global.update_freq=2", "EMA={decay: 0.6}", "Global.epochs=2", "AMP={level: O1}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run = trainer(config_file, *overrides, f"Global.output_dir={whole}")
    expected = {key: value.astype("float64") for key, value in weights(run.model).items()}
    original, updates = run.train_step, []

    def train_step(batch):
        result = original(batch)
        if batch.number % 2:
            decay = min(0.6, (1 + len(updates)) / (10 + len(updates)))
            for key, value in weights(run.model).items():
                expected[key] = decay * expected[key] + (1 - decay) * value
            updates.append(run.position.step)
        return result

    run.train_step = train_step
    run.fit()
    assert updates == list(range(1, 7))
    found = checkpoint.load(whole / "latest")
    for key, value in expected.items():
        np.testing.assert_allclose(found.weights[key], value, rtol=1e-4, atol=1e-6, err_msg=key)
        np.testing.assert_array_equal(found.raw[key], weights(run.model)[key])
    assert np.abs(found.weights["fc.weight"] - found.raw["fc.weight"]).max() > 1e-4

    interrupted = trainer(config_file, *overrides, f"Global.output_dir={parts}", "Global.save_steps=1")
    original_step = interrupted.train_step

    def dies(batch):
        if (interrupted.position.epoch, batch.number) == (1, 3):  # between the batches of an update
            raise SystemExit
        return original_step(batch)

    interrupted.train_step = dies
    with pytest.raises(SystemExit):
        interrupted.fit()
    resumed = trainer(config_file, *overrides, f"Global.output_dir={parts}", "Global.checkpoints=auto")
    at = resumed.position
    assert (at.epoch, at.step_in_epoch, at.step) == (1, 1, 4)
    resumed.fit()
    again = checkpoint.load(parts / "latest")
    for kind in ("weights", "raw", "optimizer"):
        one, other = getattr(found, kind), getattr(again, kind)
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=f"{kind} {key}")
    assert found.states["best"] == again.states["best"]
    assert found.states["scaler"] == again.states["scaler"] == {"skipped": 0}

    # eval, infer and export load the averaged weights.
    model = build_model(load_config(config_file, overrides), str(parts / "latest"))
    np.testing.assert_array_equal(model.fc.weight.numpy(), found.weights["fc.weight"])
    # What is scored is the average, and scoring leaves the network in training as it was.
    assert resumed.scored_model() is resumed.ema.model
    assert resumed.evaluate() == run.evaluate()


def test_ema_switched_on_or_off_between_runs_is_said(config_file, tmp_path, caplog):
    trainer(config_file, "Global.epochs=1").fit()
    on = trainer(
        config_file, "Global.epochs=1", "EMA={}", "Global.checkpoints=auto", "Global.eval_during_train=false"
    )
    assert "has no EMA; this run's starts from its weights" in caplog.text
    np.testing.assert_array_equal(weights(on.ema.model)["fc.weight"], weights(on.model)["fc.weight"])
    on.save("latest")
    off = trainer(config_file, "Global.epochs=1", f"Global.checkpoints={tmp_path / 'output/latest'}")
    assert "leaves it behind" in caplog.text
    assert off.ema is None
