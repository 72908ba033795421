"""The learning rate for the global batch: every rate, at every step, said once, and seen by a resume."""

import logging

import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.global_batch import scaled_learning_rate
from ppcls_light.engine.resume import resumed_schedule
from ppcls_light.errors import ConfigError
from ppcls_light.optim import build_schedule

SCHEDULES = [
    "{name: Cosine, learning_rate: 0.3, eta_min: 0.01, warmup_epoch: 2, warmup_start_lr: 0.001}",
    "{name: Linear, learning_rate: 0.3, end_lr: 0.01, warmup_epoch: 2, warmup_start_lr: 0.001}",
    "{name: Step, learning_rate: 0.3, step_size: 2, gamma: 0.3}",
    "{name: Piecewise, decay_epochs: [2, 3], values: [0.3, 0.1, 0.04]}",
    "{name: ConstLR, learning_rate: 0.3}",
]


@pytest.mark.parametrize("lr", SCHEDULES)
def test_the_whole_curve_is_multiplied(config_file, lr, caplog):
    plain = load_config(config_file, [f"Optimizer.lr={lr}"])
    config = load_config(
        config_file, [f"Optimizer.lr={lr[:-1]}, base_batch_size: 64}}", "Global.update_freq=2"]
    )
    with caplog.at_level(logging.INFO, "ppcls_light"):
        scaled = scaled_learning_rate(config, Runtime("cpu", 0, 4))
    assert caplog.messages == [
        "global batch 32 (batch_size 4 x world_size 4 x update_freq 2), "
        "learning rate 0.15 = 0.3 x 32 / 64 (base_batch_size)"
    ]
    ours, reference = (build_schedule(each, 7, 5) for each in (scaled, plain.Optimizer.lr))
    assert [ours(step) for step in range(35)] == pytest.approx([reference(step) / 2 for step in range(35)])
    assert config.Optimizer.lr.learning_rate == 0.3  # what config.yaml of the run is written from


def test_without_the_key_the_rate_stays_and_the_main_process_warns_with_the_numbers(config_file, caplog):
    config = load_config(config_file)
    with caplog.at_level(logging.INFO, "ppcls_light"):
        for rank in range(3):
            assert scaled_learning_rate(config, Runtime("cpu", rank, 3)) == config.Optimizer.lr
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "Optimizer.lr.base_batch_size is not given: the learning rate stays 0.05 at a global batch of 12; name the "
        "batch that it was chosen for: -o Optimizer.lr.base_batch_size=12 (this one) keeps it, 4 (one process) makes "
        "it 0.15"
    ]


def test_one_process_with_one_batch_a_step_needs_no_key(config_file, caplog):
    with caplog.at_level(logging.INFO, "ppcls_light"):
        scaled_learning_rate(load_config(config_file), Runtime("cpu"))
    assert caplog.messages == [
        "global batch 4 (batch_size 4 x world_size 1 x update_freq 1), learning rate 0.05"
    ]


def test_a_resume_with_another_number_of_processes_is_told_what_changes(config_file, tmp_path):
    # As many steps an epoch as before: only the rate tells.
    overrides = ["Global.epochs=1", "Optimizer.lr.base_batch_size=8"]
    config = load_config(config_file, overrides)
    jobs.train(config)
    found = checkpoint.load(f"{tmp_path}/output/latest")
    same, twice = (scaled_learning_rate(config, Runtime("cpu", 0, size)) for size in (1, 2))
    assert resumed_schedule(found, config.Global, same, 6).lr == same
    with pytest.raises(ConfigError, match=r"lr\.learning_rate 0\.025 -> 0\.05.*resume_schedule=new"):
        resumed_schedule(found, config.Global, twice, 6)
    keep = load_config(config_file, [*overrides, "Global.resume_schedule=keep"])
    assert resumed_schedule(found, keep.Global, twice, 6).lr == same


def test_a_batch_size_of_zero_is_refused(config_file):
    with pytest.raises(ConfigError, match=r"Optimizer\.lr\.base_batch_size"):
        load_config(config_file, ["Optimizer.lr.base_batch_size=0"])
