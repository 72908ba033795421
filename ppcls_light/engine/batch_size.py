"""Batch size that fits into memory (`DataLoader.Train.sampler.batch_size: auto`), decided once, when a run begins.

Updates of 2, 4, 8 ... images are made in a process of their own, whose end by the system ends nothing else, until the
next would take more memory than there is: activations grow with the images, so that two sizes tell the third. The run
is then the one with that number, and its checkpoints keep it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
from typing import Any, Callable, NamedTuple

import numpy as np
import paddle

from ..base.call import CallProcess
from ..base.hints import command
from ..base.machine import available_memory, peak_memory
from ..base.processes import ProcessEndedError
from ..config import Config
from ..config.dataloader import LoaderConfig, ReaderConfig, SamplerConfig
from ..data.loader import Batch
from ..errors import ConfigError, UserError
from .checkpoint import Checkpoint
from .distributed import Runtime, gather, raise_on_all_ranks, start
from .global_batch import images_per_update, multiplied
from .log import LOGGER, silence
from .resume import find_checkpoint
from .trainer import Trainer

FIRST, MOST = (
    2,
    256,
)  # more images an update make an epoch no faster on a CPU, and learn little from few photos
STEPS = 4  # of an epoch, at least, as in the configs of the command lists
_SHARE = 0.8  # of the memory that is free: evaluation, readers and other programs need some, too
_KILLED = -9  # by the system, on Linux for want of memory; Windows has no such signal
_NO_MEMORY = ("resourceexhausted", "out of memory", "alloc memory", "memoryerror", "bad_alloc")


class Trial(NamedTuple):
    """Memory, MiB, of the process after an update of so many images."""

    images: int
    memory: float


def with_batch_size(config: Config, runtime: Runtime) -> Config:
    """Return `config` with the number that its `batch_size: auto` stands for; any other unchanged.

    It is the largest power of two up to 256 that fits on all processes, leaves an epoch 4 updates and does not exceed
    the images. Raises ConfigError: the checkpoint to resume does not tell its own. UserError: not even 2 images fit,
    or the memory of this machine is not known.
    """
    train = config.DataLoader.Train
    if train is None or not isinstance(train.sampler, SamplerConfig) or train.sampler.batch_size != "auto":
        return config
    with silence():
        found = find_checkpoint(config.Global, runtime)
    if found is not None:
        return _with(config, train, train.sampler, _decided(config, found))
    LOGGER.info("DataLoader.Train.sampler.batch_size: auto: trying which fits into memory")
    size, limit, trials = 0, math.inf, list[Trial]()
    with raise_on_all_ranks(runtime):
        if runtime.is_main or runtime.device != "cpu":  # processes on CPUs share their memory
            size, trials, limit = _measure(config, train, train.sampler, runtime)
    size = min(filter(None, gather(size, runtime)))
    tried = ", ".join(f"{trial.images}: {trial.memory:.0f}" for trial in trials)
    LOGGER.info("DataLoader.Train.sampler.batch_size: auto: %d (MiB: %s; limit %.0f)", size, tried, limit)
    own, lr = _with(config, train, train.sampler, size), config.optimizer().lr
    if lr.base_batch_size is None and images_per_update(own, runtime) == size:  # else the run itself warns
        LOGGER.warning(
            "Optimizer.lr.base_batch_size is not given: the learning rate stays %g at batches of %d; name the global "
            "batch that it was chosen for, or see %s",
            *(lr.learning_rate, size, command("find-lr")),
        )
    return own


def _decided(config: Config, found: Checkpoint) -> int:
    """Return the batch size that was decided on when the run of the checkpoint `found` began."""
    size = found.states.get("batch_size")
    if not isinstance(size, int):
        raise ConfigError(
            f"{config.place('DataLoader.Train.sampler.batch_size')}: auto: checkpoint {found.prefix} does not tell its "
            "batch size; give the number that it was trained with"
        )
    LOGGER.info("DataLoader.Train.sampler.batch_size: auto: %d, as decided when the run began", size)
    return size


def _with(config: Config, train: ReaderConfig, sampler: SamplerConfig, size: int) -> Config:
    own = copy.copy(config)  # which keeps the places of its keys
    train = dataclasses.replace(train, sampler=dataclasses.replace(sampler, batch_size=size))
    own.DataLoader = dataclasses.replace(config.DataLoader, Train=train)
    return own


def largest(attempt: Callable[[int], float], limit: float, most: int) -> list[Trial]:
    """Return trials of 2, 4, 8 ... images, the last of which is the largest that fits; [] when 2 do not.

    `attempt(images)` returns the MiB that the process has then had, NaN when they were not there. No size above `most`
    is tried, nor one that the growth so far puts above `limit` MiB.
    """
    trials: list[Trial] = []
    for images in itertools.takewhile(
        lambda size: size <= most, (FIRST << step for step in itertools.count())
    ):
        if len(trials) > 1 and 3 * trials[-1].memory - 2 * trials[-2].memory > limit:
            break
        memory = attempt(images)
        if not memory <= limit:
            break
        trials.append(Trial(images, memory))
    return trials


def most_images(share: int, update_freq: int) -> int:
    """Return the limit of the batch for `share` images of a process in an epoch: `STEPS` updates, if 2 images allow."""
    return max(min(MOST, share // (STEPS * update_freq)), min(FIRST, share))


def _measure(
    config: Config, train: ReaderConfig, sampler: SamplerConfig, runtime: Runtime
) -> tuple[int, list[Trial], float]:
    """Return the batch size for this process, the trials and their limit in MiB."""
    # One process, on the device of this one.
    alone = {"PADDLE_TRAINERS_NUM": "1", "PADDLE_TRAINER_ID": "0"}
    free = available_memory() / runtime.world_size  # before the trials take some
    with contextlib.closing(CallProcess(alone)) as process:
        images, device_memory = _call(process, _prepare, _alone(config, train, sampler)) or (0, math.nan)
        limit = _SHARE * (free if runtime.device == "cpu" else device_memory)
        if images and math.isnan(limit):
            raise UserError("batch_size: auto: this system does not tell its free memory; give a number")
        most = most_images(images // runtime.world_size, config.Global.update_freq)
        trials = largest(lambda size: _call(process, _attempt, size) or math.nan, limit, most)
    if images and most < FIRST:
        return 1, trials, limit
    if not trials:
        raise UserError(
            f"batch_size: auto: an update of {FIRST} images needs more than {limit:.0f} MiB, {_SHARE:.0%} of the free "
            "memory; end other programs, or take a smaller network or smaller images"
        )
    return trials[-1].images, trials, limit


def _alone(config: Config, train: ReaderConfig, sampler: SamplerConfig) -> Config:
    """Return `config` for the trials: all learns that will, at the largest size, at a rate that changes nothing."""
    train = dataclasses.replace(train, loader=LoaderConfig(num_workers=0))
    sampler = dataclasses.replace(sampler, drop_last=False, size_schedule=None)
    own = _with(config, train, sampler, FIRST)
    optimizer = config.optimizer()
    own.Optimizer = dataclasses.replace(optimizer, lr=multiplied(optimizer.lr, 1e-6))
    own.Global = config.Global.of_a_trial(eval_during_train=False, early_stop=None)
    return own


def _call(process: CallProcess, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)` of `process`; None when there was not enough memory for it."""
    process.start(function, *arguments)
    try:
        return process.result()
    except ProcessEndedError as end:
        if is_lack_of_memory(str(end), end.code):
            return None
        raise UserError(f"batch_size: auto: the trial ended (exit {end.code}): {end}") from None


def is_lack_of_memory(text: str, code: int | None = None) -> bool:
    """Return whether an error's `text`, or the exit `code` of its process, means that memory was not there."""
    return code == _KILLED or any(sign in text.lower() for sign in _NO_MEMORY)


# The rest runs in the process of the trials.

_trainer: Trainer
_batch: Batch


def _prepare(config: Config) -> tuple[int, float]:
    """Build the training of `config`; return the number of its images, and the MiB of an accelerator, NaN of none."""
    global _trainer, _batch
    runtime = start(config.Global.device)
    _trainer = Trainer(config, runtime)
    _trainer.model.train()
    with contextlib.closing(_trainer.reader.loader.epoch(0)) as batches:
        _batch = next(batches)
    properties = paddle.device.cuda.get_device_properties if runtime.device == "gpu" else None
    return len(_trainer.reader.images), properties().total_memory / 2**20 if properties else math.nan


def _attempt(images: int) -> float | None:
    """Make an update of `images`, repeated ones of the first batch; return the MiB that it took, None: not there."""
    batch = Batch(*(np.resize(array, (images, *array.shape[1:])) for array in _batch[:3]))
    try:
        for number in range(_trainer.position.update_freq):
            _trainer.train_step(batch._replace(number=number))
        _trainer.losses.check()  # which waits for the device
    except (MemoryError, RuntimeError, SystemError, OSError) as error:  # Paddle's differ by version
        if isinstance(error, MemoryError) or is_lack_of_memory(str(error)):
            return None
        raise
    if _trainer.runtime.device == "gpu":
        return paddle.device.cuda.max_memory_reserved() / 2**20
    return peak_memory()
