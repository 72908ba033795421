"""State of a training beside its weights and its optimizer: NAME.pdstates of a checkpoint, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import paddle

from .. import __version__
from ..optim import load_optimizer_state
from ..weights import load_weights
from .classes import described_classes
from .log import LOGGER
from .resume import require_same_learning, schedule_settings

if TYPE_CHECKING:
    from paddle import nn
    from paddle.optimizer import Optimizer

    from ..config import Config
    from ..config.optim import LearningRate
    from ..data.classes import ClassNames
    from ..optim import ExponentialMovingAverage
    from .checkpoint import Checkpoint
    from .freezing import Freezing
    from .position import Position
    from .precision import Precision
    from .readers import Reader
    from .time_spent import TimeSpent


class Training(Protocol):
    """The parts of a `trainer.Trainer` that a checkpoint is made of."""

    config: Config
    position: Position
    best: float | None
    evaluations_since_best: int
    evaluated: bool
    lr: LearningRate
    order: dict[str, Any]
    spent: TimeSpent
    freezing: Freezing
    precision: Precision
    class_names: ClassNames | None
    reader: Reader
    model: nn.Layer
    ema: ExponentialMovingAverage | None
    optimizer: Optimizer


def states_of(trainer: Training) -> dict[str, Any]:
    """Return all that a checkpoint keeps of a training between two steps, but for weights and optimizer."""
    config, position = trainer.config, trainer.position
    return {
        "epoch": position.epoch,
        "position": position.step_in_epoch,
        "step": position.step,
        "metric": trainer.best if trainer.best is not None else 0.0,
        "best": trainer.best,
        "evaluations_since_best": trainer.evaluations_since_best,
        "evaluated": trainer.evaluated,
        "schedule": schedule_settings(trainer.lr, config.Global.epochs, position.steps_per_epoch),
        "order": trainer.order,
        "batch_size": config.batch_size("Train"),
        **trainer.spent.state(),
        "learned": trainer.freezing.learned,
        "scaler": trainer.precision.state_dict(),
        **described_classes(trainer.class_names, config.multilabel, trainer.reader.images),
        "arch": config.Arch.network.name,
        "class_num": config.Arch.class_num,
        "versions": {"ppcls_light": __version__, "paddle": paddle.__version__},
    }


def restore(trainer: Training, found: Checkpoint) -> None:
    """Put optimizer, EMA and position of `trainer` back to where they were when `found` was made.

    Raises ConfigError: other parts learned then.
    """
    states, position = found.states, trainer.position
    trainer.position = position.at(states["epoch"], states["position"] * position.update_freq)
    trainer.freezing.set(trainer.position.epoch)
    require_same_learning(found, trainer.freezing.learned)
    load_optimizer_state(trainer.optimizer, trainer.model, found.optimizer)
    trainer.precision.load_state_dict(states["scaler"])
    if trainer.ema is not None and found.raw is not None:
        load_weights(trainer.ema.model, found.weights, source=found.prefix)
    elif trainer.ema is not None:
        LOGGER.warning("%s has no EMA; this run's starts from its weights", found.prefix)
    elif found.raw is not None:
        LOGGER.warning("%s has an EMA; without the section EMA this run leaves it behind", found.prefix)
    # Earlier versions count the end of an epoch, before its evaluation, as that epoch's.
    trainer.evaluated = states.get("evaluated", True) and trainer.position.epoch == states["epoch"]
    trainer.best = states.get("best")
    trainer.evaluations_since_best = states.get("evaluations_since_best", 0)
    LOGGER.info(
        "Finish load checkpoints from %s (%d epochs and %d steps done)",
        *(found.prefix, states["epoch"], states["step"]),
    )
