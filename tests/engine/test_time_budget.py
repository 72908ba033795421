"""Time budget: epochs as a function of measured costs, decided once, kept by the run, and exact."""

import itertools
import logging
import os

import numpy as np
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.base.files import remove_orphans
from ppcls_light.config import dump_config, load_config
from ppcls_light.config.schema import GlobalConfig
from ppcls_light.engine import checkpoint, time_budget
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.time_budget import Costs, epochs_within, seconds_of
from ppcls_light.engine.time_spent import TimeSpent
from ppcls_light.errors import ConfigError

CPU = Runtime("cpu")


def seconds_step_by_step(epochs, batches, costs, settings):
    """Return the seconds of a run, walked through as `Trainer.fit` does, each evaluation being a best one."""
    seconds, steps = 0.0, 0
    for epoch in range(1, epochs + 1):
        for batch in range(1, batches + 1):
            seconds += costs.batch
            steps += batch % settings.update_freq == 0
        evaluates = settings.eval_during_train and epoch >= settings.start_eval_epoch
        evaluates = evaluates and epoch % settings.eval_interval == 0
        before = epoch % settings.save_interval == 0 or evaluates
        seconds += costs.evaluation * evaluates + costs.save * (before + evaluates + 1)
    return seconds + (costs.save * (steps // settings.save_steps) if settings.save_steps else 0.0)


SETTINGS = [
    {},
    {"eval_during_train": False, "save_interval": 5},
    {"eval_interval": 3, "start_eval_epoch": 6, "save_interval": 3},
    {"update_freq": 2, "save_steps": 5, "eval_during_train": False, "save_interval": 100},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_seconds_are_those_of_the_run_walked_through(settings):
    settings, costs = GlobalConfig(**settings), Costs(0.25, 8.0, 2.0)
    for epochs in (1, 2, 7, 12):
        assert seconds_of(epochs, 10, costs, settings) == seconds_step_by_step(epochs, 10, costs, settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_epochs_are_the_most_that_fit(settings):
    settings = GlobalConfig(**settings)
    for batch, evaluation, seconds in itertools.product((0.01, 0.3, 4.0), (0.0, 20.0), (1.0, 60.0, 900.0)):
        costs = Costs(batch, evaluation, 0.1)
        epochs = epochs_within(seconds, 10, costs, settings)
        assert epochs == 0 or seconds_of(epochs, 10, costs, settings) <= seconds
        assert seconds_of(epochs + 1, 10, costs, settings) > seconds


@pytest.fixture
def measured(monkeypatch):
    """A function that lets this machine measure an epoch of 7.3 seconds, or fail where it must not measure."""

    def measure(config, runtime):
        return 6, Costs(1.0, 1.0, 0.1)

    def fail(config, runtime):
        raise AssertionError("it was measured again")

    def let(measures=True):
        monkeypatch.setattr(time_budget, "measure", measure if measures else fail)

    let()
    return let


def state(folder):
    found = checkpoint.load(os.path.join(folder, "latest"))
    return {**found.weights, **found.optimizer}, found.states


def test_a_run_of_minutes_is_that_of_its_epochs_and_resumes_as_it_began(
    config_file, tmp_path, measured, capsys, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    minutes = ["Global.minutes=0.55", f"Global.output_dir={parts}"]  # 33 seconds: 4 epochs
    jobs.train(load_config(config_file, ["Global.epochs=4", f"Global.output_dir={whole}"]))
    from ppcls_light.engine.trainer import Trainer

    train_epoch = Trainer.train_epoch
    monkeypatch.setattr(
        Trainer, "train_epoch", lambda self, stop: self.position.epoch == 2 or train_epoch(self, stop)
    )
    with pytest.raises(KeyboardInterrupt):
        jobs.train(load_config(config_file, minutes))
    monkeypatch.setattr(Trainer, "train_epoch", train_epoch)
    log = (parts / "train.log").read_text()
    assert (
        "Global.minutes: 0.55: 4 epochs (6 batches of 1 s, an evaluation of 1 s, a checkpoint of 0.1 s" in log
    )
    assert "[Train][Epoch 2/4][Iter: 3/6]" in log
    measured(False)
    jobs.train(load_config(config_file, [*minutes, "Global.checkpoints=auto"]))
    (expected, _), (weights, states) = state(whole), state(parts)
    assert expected.keys() == weights.keys()
    assert all(np.array_equal(expected[key], weights[key]) for key in expected)
    assert (states["minutes"], states["epoch"]) == (0.55, 4)
    assert "Global.minutes: 0.55: 4 epochs, as decided when the run began" in capsys.readouterr().out

    written = yaml.safe_load((parts / "config.yaml").read_text())["Global"]
    assert (written["epochs"], written["minutes"]) == (4, None)
    again = load_config(parts / "config.yaml", ["Global.checkpoints=auto"])
    assert Trainer(again, CPU).spent.minutes == 0.55
    with pytest.raises(
        ConfigError, match=r"minutes: 0\.7: checkpoint .*latest is of a run of 0\.55 minutes \(4 epochs"
    ):
        jobs.train(load_config(config_file, [*minutes, "Global.minutes=0.7", "Global.checkpoints=auto"]))
    options = ["Global.minutes=1", f"Global.checkpoints={whole}/latest", f"Global.output_dir={tmp_path}/new"]
    with pytest.raises(ConfigError, match="is of a run of 4 epochs, which was decided when it began"):
        jobs.train(load_config(config_file, options))


def test_less_than_an_epoch_is_refused_with_the_minutes_it_needs(config_file, tmp_path, measured):
    with pytest.raises(
        ConfigError,
        match=r"-o Global\.minutes=0\.1: .*: one epoch needs 0\.12 minutes, 0\.02\d* more \(6 batches of 1 s",
    ):
        jobs.train(load_config(config_file, ["Global.minutes=0.1"]))
    assert not list((tmp_path / "output").glob("*.pd*"))


@pytest.mark.parametrize(("epochs", "warmup", "kept"), [(24, 3, 3), (8, 3, 2), (3, 3, 0), (3, 0, 0)])
def test_a_warm_up_is_at_most_a_quarter_of_the_epochs(config_file, measured, epochs, warmup, kept):
    overrides = [f"Global.minutes={(7.3 * epochs + 2) / 60}", f"Optimizer.lr.warmup_epoch={warmup}"]
    config = time_budget.within_minutes(load_config(config_file, overrides), CPU)
    assert (config.Global.epochs, config.Optimizer.lr.warmup_epoch) == (epochs, kept)
    assert config.place("Global.minutes").startswith("-o Global.minutes=")


def test_measuring_finds_costs_and_leaves_nothing(config_file, tmp_path):
    config = load_config(
        config_file, ["Global.minutes=1", "Global.log_histograms=true", "Global.use_visualdl=true"]
    )
    batches, costs = time_budget.measure(config, CPU)
    assert batches == 6
    assert min(costs.batch, costs.evaluation, costs.save) > 0
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "photos"]


def test_what_a_killed_measurement_leaves_is_removed(config_file, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(time_budget.Trainer, "save", lambda *_: seen.extend((tmp_path / "output").iterdir()))
    (tmp_path / "output").mkdir()
    time_budget.within_minutes(load_config(config_file, ["Global.minutes=9"]), CPU)
    (folder,) = seen
    left = folder.with_name(
        folder.name.replace(f"-{os.getpid()}.", f"-{1 << 31}.")
    )  # no process has that number
    left.mkdir()
    remove_orphans(tmp_path / "output")
    assert not left.exists()


def test_a_budget_that_was_grossly_missed_is_reported_over_all_parts(caplog):
    settings = GlobalConfig(minutes=2)
    with caplog.at_level(logging.INFO, "ppcls_light"):
        TimeSpent(settings, {"seconds": 200.0}).report()
        TimeSpent(settings, {"seconds": 130.0}).report()
        TimeSpent(GlobalConfig(), {"seconds": 200.0}).report()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Global.minutes: 2 asked, 3.3 taken: this machine was slower than when it was measured"),
        ("INFO", "Global.minutes: 2 asked, 2.2 taken"),
    ]


def test_minutes_or_epochs_not_both(config_file):
    text = config_file.read_text()
    assert load_config(config_file, ["Global.minutes=5"]).Global.minutes == 5  # the file has epochs
    config_file.write_text(text.replace("epochs: 4", "epochs: 4\n  minutes: 5"))
    with pytest.raises(
        ConfigError, match=r"yaml:\d+: Global\.minutes 5 and Global\.epochs 4 \(.*both given; keep one"
    ):
        load_config(config_file)
    config_file.write_text(text.replace("epochs: 4", "minutes: 5"))
    loaded = load_config(config_file, ["Global.epochs=7"]).Global
    assert (loaded.epochs, loaded.minutes) == (7, None)
    with pytest.raises(ConfigError, match="both given"):
        load_config(config_file, ["Global.epochs=7", "Global.minutes=3"])
    config_file.write_text(text.replace("epochs: 4", "epochs: null\n  minutes: 5"))
    loaded = load_config(config_file)
    assert loaded.Global.minutes == 5
    config_file.write_text(dump_config(loaded))
    assert load_config(config_file) == loaded


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "Optimizer.lr={name: Step, learning_rate: 0.1}",
            r"Optimizer\.lr\.name Step counts them; use Cosine",
        ),
        ("DataLoader.Train.sampler.size_schedule=32_2", r"sampler\.size_schedule counts them"),
        ("Global.minutes=0", r"minutes: expected a number > 0, got 0"),
    ],
)
def test_minutes_that_contradict_are_one_line(config_file, option, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config_file, ["Global.minutes=5", option])
