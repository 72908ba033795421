"""Batch size that fits into memory: the search over known costs, the trials, and the run that follows."""

import contextlib
import functools
import math
import os
import signal

import numpy as np
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.base.call import CallProcess
from ppcls_light.config import load_config
from ppcls_light.engine import batch_size, checkpoint
from ppcls_light.engine.batch_size import Trial, is_lack_of_memory, largest, most_images, with_batch_size
from ppcls_light.engine.distributed import Runtime
from ppcls_light.errors import ConfigError, UserError

CPU = Runtime("cpu")
AUTO = "DataLoader.Train.sampler.batch_size=auto"


def linear(base, per_image, there=math.inf):
    """Return an attempt whose memory grows with the images, NaN above what is `there`, and the sizes it was given."""
    tried = []

    def attempt(images):
        tried.append(images)
        memory = base + per_image * images
        return memory if memory <= there else math.nan

    return attempt, tried


@pytest.mark.parametrize(
    ("limit", "most", "expected"),
    [
        (1e9, 256, 256),
        (1e9, 100, 64),
        (1e9, 2, 2),
        (1e9, 1, 0),
        (1139, 256, 32),
        (1140, 256, 64),
        (519, 256, 0),
    ],
)
def test_the_largest_size_within_the_limit_is_found_and_none_above_it_is_tried(limit, most, expected):
    attempt, tried = linear(500, 10)
    trials = largest(attempt, limit, most)
    assert (trials[-1].images if trials else 0) == expected
    assert trials == [Trial(size, 500 + 10 * size) for size in tried[: len(trials)]]
    assert max(tried, default=0) <= max(2, expected)


def test_memory_that_is_not_there_ends_the_search():
    attempt, tried = linear(500, 10, there=900)
    assert [trial.images for trial in largest(attempt, math.inf, 256)] == [2, 4, 8, 16, 32]
    assert tried[-1] == 64
    attempt, _ = linear(500, 10, there=100)
    assert largest(attempt, math.inf, 256) == []


@pytest.mark.parametrize(
    ("share", "update_freq", "expected"),
    [(100_000, 1, 256), (400, 1, 100), (400, 4, 25), (16, 1, 4), (5, 1, 2), (1, 1, 1)],
)
def test_an_epoch_has_four_updates_unless_batches_of_two_are_too_many(share, update_freq, expected):
    assert most_images(share, update_freq) == expected


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("ResourceExhaustedError: \n\nOut of memory error on GPU 0. Cannot allocate 98MB memory", None, True),
        ("ResourceExhaustedError: Fail to alloc memory of 5060694016 size.", None, True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", -signal.SIGABRT, True),
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", 1, True),
        ("no message", -signal.SIGKILL, True),  # of Linux, when the memory of the machine is used up
        ("no message", -signal.SIGSEGV, False),
        ("InvalidArgumentError: The dims are wrong", None, False),
    ],
)
def test_errors_that_mean_a_lack_of_memory(text, code, expected):
    assert is_lack_of_memory(text, code) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_trial_that_the_system_kills_is_a_lack_of_memory_and_any_other_end_an_error(number):
    with contextlib.closing(CallProcess()) as process:
        if number == signal.SIGKILL:
            assert batch_size._call(process, signal.raise_signal, number) is None
        else:
            with pytest.raises(UserError, match=rf"trial ended \(exit -{int(number)}\)"):
                batch_size._call(process, signal.raise_signal, number)


def state(folder):
    found = checkpoint.load(os.path.join(folder, "latest"))
    return {**found.weights, **found.optimizer}, found.states


def test_a_run_with_auto_is_that_of_the_number_and_resumes_with_it(
    config_file, tmp_path, capsys, monkeypatch
):
    auto, number = tmp_path / "auto", tmp_path / "number"
    jobs.train(load_config(config_file, [AUTO, "Global.epochs=1", f"Global.output_dir={auto}"]))
    output = capsys.readouterr().out
    assert "DataLoader.Train.sampler.batch_size: auto: 4 (MiB: 2: " in output  # 26 images: 6 updates
    assert "base_batch_size is not given: the learning rate stays 0.05 at batches of 4" in output
    four = "DataLoader.Train.sampler.batch_size=4"
    jobs.train(load_config(config_file, [four, "Global.epochs=1", f"Global.output_dir={number}"]))
    (weights, states), (expected, _) = state(auto), state(number)
    assert all(np.array_equal(expected[key], weights[key]) for key in expected)
    assert states["batch_size"] == 4
    written = yaml.safe_load((auto / "config.yaml").read_text())
    assert written["DataLoader"]["Train"]["sampler"]["batch_size"] == 4
    monkeypatch.setattr(batch_size, "_measure", None)  # what was decided is not measured again
    options = [AUTO, "Global.checkpoints=auto", "Global.epochs=1", f"Global.output_dir={auto}"]
    jobs.train(load_config(config_file, options))
    assert "batch_size: auto: 4, as decided when the run began" in capsys.readouterr().out


@pytest.fixture
def here(monkeypatch):
    """Make the trials in this process."""

    class Here:
        def start(self, function, *arguments):
            self.call = functools.partial(function, *arguments)

        def result(self):
            return self.call()

        def close(self):
            pass

    monkeypatch.setattr(batch_size, "CallProcess", lambda environment: Here())


def test_too_little_memory_is_one_line(config_file, monkeypatch, here):
    monkeypatch.setattr(batch_size, "available_memory", lambda: 50.0)
    config = load_config(config_file, [AUTO])
    with pytest.raises(
        UserError, match="an update of 2 images needs more than 40 MiB, 80% of the free memory"
    ):
        with_batch_size(config, CPU)
    monkeypatch.setattr(batch_size, "available_memory", lambda: math.nan)
    with pytest.raises(UserError, match="does not tell its free memory; give a number"):
        with_batch_size(config, CPU)


def test_a_single_image_is_a_batch(config_file, photos, here):
    (photos / "train_list.txt").write_text("train/00.png 0\n")
    config = with_batch_size(load_config(config_file, [AUTO]), CPU)
    assert config.batch_size("Train") == 1


def test_errors_of_the_data_are_those_of_a_training(config_file, photos, here):
    (photos / "train_list.txt").write_text("train/nothing.png 0\n")
    with pytest.raises(UserError, match=r"nothing\.png"):
        with_batch_size(load_config(config_file, [AUTO]), CPU)


def test_the_largest_memory_of_a_batch_is_measured(config_file):
    """All learns, images have their last size, and a mixed batch has the labels of all."""
    options = [
        "Arch.name=PPLCNet_x0_5", "Global.image_shape=[3,64,64]", "DataLoader.Train.sampler.size_schedule=16_3",
        "DataLoader.Train.dataset.batch_transform_ops=[{MixupOperator: {alpha: 0.2}}]",
        "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=64", "Global.update_freq=2",
    ]  # fmt: skip
    config = load_config(config_file, options)
    train = config.DataLoader.Train
    images, _ = batch_size._prepare(batch_size._alone(config, train, train.sampler))
    assert images == 26
    before = {key: value.numpy() for key, value in batch_size._trainer.model.named_parameters()}
    assert batch_size._attempt(3) > 0
    shapes = [array.shape for array in batch_size._batch[:3]]
    assert shapes == [(2, 3, 64, 64), (2, 3), (2,)]
    after = dict(batch_size._trainer.model.named_parameters())
    learned = [key for key, parameter in after.items() if not parameter.stop_gradient]
    assert max(np.abs(before[key] - after[key].numpy()).max() for key in learned) < 1e-5


def test_auto_is_for_training_alone(config_file):
    with pytest.raises(
        ConfigError, match=r"DataLoader\.Eval\.sampler\.batch_size: auto is for DataLoader\.Train"
    ):
        load_config(config_file, ["DataLoader.Eval.sampler.batch_size=auto"])
    with pytest.raises(ConfigError, match=r"batch_size: expected .* got 'many'"):
        load_config(config_file, ["DataLoader.Train.sampler.batch_size=many"])


def test_a_checkpoint_of_an_earlier_version_does_not_tell(config_file):
    found = checkpoint.Checkpoint("output/latest", {}, {}, {"step": 3})
    with pytest.raises(
        ConfigError, match=r"batch_size: auto: checkpoint output/latest does not tell its batch size"
    ):
        batch_size._decided(load_config(config_file, [AUTO]), found)
