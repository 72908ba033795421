"""Number of epochs that `Global.minutes` allows on this machine, decided once, when a run begins.

A first training of the same config, which is thrown away, is timed for some batches, an evaluation and a checkpoint.
The run is then the one that `Global.epochs` would give, bit for bit, and its schedule ends with its last epoch. Its
checkpoints keep the decision, and a resumed run does not measure again.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import math
import os
import tempfile
import time
from typing import Iterator

import paddle

from ..base.files import temporary_name
from ..config import Config
from ..config.global_section import GlobalConfig
from ..data.loader import Batch
from ..errors import ConfigError
from .checkpoint import Checkpoint
from .distributed import Runtime, gather
from .log import LOGGER, silence
from .metrics import Metrics
from .resume import find_checkpoint
from .trainer import Trainer

_WARM_UP, _MEASURED, _LEAST = (
    3,
    30,
    3,
)  # batches: before the timed ones, of them, and of them when they take long
_MEASURED_SHARE = 0.02  # of the minutes: after that long the least number is enough
_EVALUATED = 10  # batches of an evaluation
_WARM_UP_SHARE = 4  # `warmup_epoch` is at most one in so many epochs


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of a batch of training with its reading, of an evaluation, and of the files of a checkpoint."""

    batch: float
    evaluation: float
    save: float


def seconds_of(epochs: int, batches: int, costs: Costs, settings: GlobalConfig) -> float:
    """Return the seconds of a run of `epochs` with `batches` each, which `settings` say when to score and to save.

    Each evaluation counts as a best one.
    """
    evaluations = both = 0
    if settings.eval_during_train:
        evaluations, both = (
            max(0, epochs // interval - max(0, settings.start_eval_epoch - 1) // interval)
            for interval in (settings.eval_interval, math.lcm(settings.eval_interval, settings.save_interval))
        )
    # Before the evaluation epoch_N or latest, after it best_model, and latest at the end.
    saves = (epochs // settings.save_interval + evaluations - both) + evaluations + epochs
    if settings.save_steps:
        saves += epochs * batches // settings.update_freq // settings.save_steps
    return epochs * batches * costs.batch + evaluations * costs.evaluation + saves * costs.save


def epochs_within(seconds: float, batches: int, costs: Costs, settings: GlobalConfig) -> int:
    """Return the most epochs whose `seconds_of` are at most `seconds`; 0 when not even one fits."""
    fits, above = 0, 1
    while seconds_of(above, batches, costs, settings) <= seconds:
        fits, above = above, 2 * above
    while above - fits > 1:
        middle = (fits + above) // 2
        if seconds_of(middle, batches, costs, settings) <= seconds:
            fits = middle
        else:
            above = middle
    return fits


def within_minutes(config: Config, runtime: Runtime) -> Config:
    """Return `config` with the `Global.epochs` that `Global.minutes` allow; without those unchanged.

    A warm-up of more than a quarter of the epochs is shortened to that.

    Raises ConfigError: not even one epoch fits; or the checkpoint to resume is of a run of another length.
    """
    settings = config.Global
    if settings.minutes is None:
        return config
    with silence():
        found = find_checkpoint(settings, runtime)
    if found is not None:
        return _with_epochs(config, _decided(config, settings.minutes, found))
    LOGGER.info("Global.minutes: %g: measuring the time of an epoch on this machine", settings.minutes)
    began = time.perf_counter()
    with silence():
        batches, costs = measure(config, runtime)
    taken = time.perf_counter() - began
    batches, costs, taken = gather((batches, costs, taken), runtime)[0]
    epochs = epochs_within(60 * settings.minutes - taken, batches, costs, settings)
    one = seconds_of(1, batches, costs, settings)
    parts = (
        f"{batches} batches of {costs.batch:.3g} s, an evaluation of {costs.evaluation:.3g} s, a checkpoint of "
        f"{costs.save:.2g} s; measuring took {taken:.0f} s"
    )
    if not epochs:
        least = (one + taken) / 60
        raise ConfigError(
            f"{config.place('Global.minutes')}: one epoch needs {least:.2g} minutes, "
            f"{least - settings.minutes:.2g} more ({parts}); give {1.2 * least:.2g}, or fewer or smaller images"
        )
    LOGGER.info("Global.minutes: %g: %d epochs (%s)", settings.minutes, epochs, parts)
    return _with_epochs(config, epochs)


def _decided(config: Config, minutes: float, found: Checkpoint) -> int:
    """Return the epochs that were decided on when the run of the checkpoint `found` began."""
    epochs, stored = found.states["schedule"]["epochs"], found.states.get("minutes")
    if stored != minutes:
        length = f"{epochs} epochs" if stored is None else f"{stored:g} minutes ({epochs} epochs)"
        raise ConfigError(
            f"{config.place('Global.minutes')}: {minutes:g}: checkpoint {found.prefix} is of a run of {length}, which "
            "was decided when it began; go on with that, or give its new length in epochs: -o Global.minutes=null "
            "Global.epochs=N Global.resume_schedule=new"
        )
    LOGGER.info("Global.minutes: %g: %d epochs, as decided when the run began", minutes, epochs)
    return epochs


def _with_epochs(config: Config, epochs: int) -> Config:
    own = copy.copy(config)  # which keeps the places of its keys
    own.Global = dataclasses.replace(config.Global, epochs=epochs)
    optimizer, most = config.optimizer(), epochs // _WARM_UP_SHARE
    if optimizer.lr.warmup_epoch > most:
        LOGGER.info("Optimizer.lr.warmup_epoch: %d of the %d epochs", most, epochs)
        own.Optimizer = dataclasses.replace(
            optimizer, lr=dataclasses.replace(optimizer.lr, warmup_epoch=most)
        )
    return own


def measure(config: Config, runtime: Runtime) -> tuple[int, Costs]:
    """Time a training of `config` from the beginning; return the batches of an epoch and their costs.

    Some batches, an evaluation and a checkpoint are made, and thrown away; `Global.minutes` bounds the batches.
    """
    folder = os.path.abspath(config.Global.output_dir)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    with tempfile.TemporaryDirectory(prefix=".minutes", suffix=temporary_name(), dir=folder) as scratch:
        own = copy.copy(config)
        own.Global = config.Global.of_a_trial(output_dir=scratch)
        trainer = Trainer(own, runtime)
        try:
            costs = Costs(_batch_cost(trainer), _evaluation_cost(trainer), _timed(trainer, "latest"))
        finally:
            for reader in filter(None, (trainer.reader, trainer.eval_reader)):
                reader.loader.close()
        batches = len(trainer.reader.loader)
    del trainer
    gc.collect()
    if runtime.device == "gpu":
        paddle.device.cuda.empty_cache()
    return batches, costs


def _timed(trainer: Trainer, name: str) -> float:
    began = time.perf_counter()
    trainer.save(name)
    return time.perf_counter() - began


def _batches(trainer: Trainer) -> Iterator[Batch]:
    for epoch in range(_WARM_UP + _MEASURED):
        trainer.position = trainer.position.at(epoch, 0)
        with contextlib.closing(trainer.reader.loader.epoch(epoch)) as batches:
            yield from batches


def _batch_cost(trainer: Trainer) -> float:
    """Return the mean seconds of a batch once the first few have started workers and built kernels."""
    most = 60 * (trainer.config.Global.minutes or math.inf) * _MEASURED_SHARE
    trainer.model.train()
    metrics, began, done = Metrics(trainer.metrics), 0.0, -_WARM_UP
    for batch in _batches(trainer):
        logits, labels, _ = trainer.train_step(batch)
        if metrics:
            metrics.update(logits, labels)
        done += 1
        if done <= 0:
            trainer.losses.check()  # which waits for the device
            began = time.perf_counter()
            continue
        late = done >= _LEAST and time.perf_counter() - began > most
        if done >= _MEASURED or gather(late, trainer.runtime)[0]:
            break
    trainer.losses.check()
    return (time.perf_counter() - began) / max(1, done)


def _evaluation_cost(trainer: Trainer) -> float:
    if trainer.eval_reader is None:
        return 0.0
    trainer.evaluate(max_batches=1)
    batches = len(trainer.eval_reader.loader)
    measured = min(batches, _EVALUATED)
    began = time.perf_counter()
    trainer.evaluate(max_batches=measured)
    return (time.perf_counter() - began) * batches / measured
