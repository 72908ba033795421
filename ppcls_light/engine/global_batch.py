"""Images per update over all processes, and the learning rate for them."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..config import Config
from ..config.optim import Cyclic, LearningRate, Piecewise
from .distributed import Runtime
from .log import LOGGER

_RATES = (
    "learning_rate",
    "warmup_start_lr",
    "eta_min",
    "end_lr",
    "base_learning_rate",
    "max_learning_rate",
    "end_learning_rate",
)


def images_per_update(config: Config, runtime: Runtime) -> int:
    """Return the global batch: batch size x processes x `Global.update_freq`."""
    return config.batch_size("Train") * runtime.world_size * config.Global.update_freq


def scaled_learning_rate(config: Config, runtime: Runtime) -> LearningRate:
    """Return `config.Optimizer.lr` for the global batch of this run, and log both with their numbers.

    The global batch is batch size x processes x `Global.update_freq`. With `Optimizer.lr.base_batch_size` the
    whole curve of the learning rate, every rate in it, is multiplied by global batch / base_batch_size (the
    linear scaling rule: Goyal et al., arXiv 1706.02677, section 2.1). Without it the curve is the config's,
    as in PaddleClas, with a warning where the batch of one process is not the global one.

    `config` is not changed.
    """
    lr, settings = config.optimizer().lr, config.Global
    batch_size = config.batch_size("Train")
    global_batch = images_per_update(config, runtime)
    made_of = (
        f"batch_size {batch_size} x world_size {runtime.world_size} x update_freq {settings.update_freq}"
    )
    base = lr.base_batch_size
    if base is None:
        LOGGER.info("global batch %d (%s), learning rate %g", global_batch, made_of, lr.learning_rate)
        if global_batch != batch_size and runtime.is_main:
            LOGGER.warning(
                "Optimizer.lr.base_batch_size is not given: the learning rate stays %g at a global batch of %d; name "
                "the batch that it was chosen for: -o Optimizer.lr.base_batch_size=%d (this one) keeps it, %d (one "
                "process) makes it %g",
                *(lr.learning_rate, global_batch, global_batch),
                *(batch_size, lr.learning_rate * global_batch / batch_size),
            )
        return lr
    scaled = dataclasses.replace(multiplied(lr, rate_factor(config, runtime)), base_batch_size=None)
    LOGGER.info(
        "global batch %d (%s), learning rate %g = %g x %d / %d (base_batch_size)",
        *(global_batch, made_of, scaled.learning_rate, lr.learning_rate, global_batch, base),
    )
    return scaled


def rate_factor(config: Config, runtime: Runtime) -> float:
    """Return the factor between the rates as they are written in `config` and those of the updates."""
    base = config.optimizer().lr.base_batch_size
    return 1.0 if base is None else images_per_update(config, runtime) / base


def rates_of(lr: LearningRate) -> dict[str, Any]:
    """Return the rates in `lr` by their keys; those of Piecewise, `values`, are a list."""
    rates: dict[str, Any] = {name: getattr(lr, name) for name in _RATES if hasattr(lr, name)}
    return {**rates, "values": list(lr.values)} if isinstance(lr, Piecewise) else rates


def peak_rate(lr: LearningRate) -> float:
    """Return the highest rate of the schedule."""
    return lr.max_learning_rate if isinstance(lr, Cyclic) else lr.learning_rate


def multiplied(lr: LearningRate, factor: float) -> LearningRate:
    """Return `lr` with every rate multiplied by `factor`."""
    rates: dict[str, Any] = {
        name: [each * factor for each in rate] if isinstance(rate, list) else rate * factor
        for name, rate in rates_of(lr).items()
    }
    return dataclasses.replace(lr, **rates)
