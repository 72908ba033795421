"""Learning rate as a pure function of the step.

The values are those of Paddle's schedulers put together as PaddleClas does. Nothing is stored but the
config, so that a resumed run needs only its step. The rate that it starts from follows the global batch
(`Optimizer.lr.base_batch_size`, see `engine.global_batch`).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Callable

from ..config import optim
from ..errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """`schedule(step)` is the learning rate of update number `step`, from 0.

    Time is counted in ticks: steps, or epochs when `lr.by_epoch`. `warmup` ticks rise linearly from
    `lr.warmup_start_lr` to `lr.learning_rate`; the schedule proper counts its ticks from there and has
    `span` of them until the end of the run.
    """

    lr: optim.LearningRate
    steps_per_tick: int
    ticks_per_epoch: int
    warmup: int
    span: int

    def __call__(self, step: int) -> float:
        lr, tick = self.lr, step // self.steps_per_tick
        if tick < self.warmup:
            return (lr.learning_rate - lr.warmup_start_lr) * tick / self.warmup + lr.warmup_start_lr
        return _KINDS[type(lr)][1](lr, tick - self.warmup, self)

    @property
    def name(self) -> str:
        """The name that PaddleClas logs: that of Paddle's class."""
        return "LinearWarmup" if self.warmup else _KINDS[type(self.lr)][0]


def build_schedule(lr: optim.LearningRate, epochs: int, steps_per_epoch: int) -> Schedule:
    """Return the Schedule of a run of `epochs`; a longer warm-up is cut to them, which is logged.

    Epochs in `lr` (`warmup_epoch`, `step_size`, `decay_epochs`, `milestones`) are whole epochs whatever `by_epoch`
    says; those of Step, Piecewise and MultiStepDecay count from the end of the warm-up. The step sizes of Cyclic are
    ticks.

    Raises ConfigError: the warm-up would fall instead of rise.
    """
    if lr.warmup_epoch and lr.warmup_start_lr > lr.learning_rate:
        raise ConfigError(
            f"warmup_start_lr {lr.warmup_start_lr} is above learning_rate {lr.learning_rate}; "
            "give a smaller warmup_start_lr, for example 0.0"
        )
    warmup_epochs = min(lr.warmup_epoch, epochs)
    if lr.warmup_epoch and warmup_epochs == epochs:
        logger.warning(
            "warmup_epoch %d takes all %d epochs of the run: the learning rate only rises; "
            "set Optimizer.lr.warmup_epoch below Global.epochs",
            lr.warmup_epoch,
            epochs,
        )
    ticks_per_epoch = 1 if lr.by_epoch else steps_per_epoch
    return Schedule(
        lr=lr,
        steps_per_tick=steps_per_epoch if lr.by_epoch else 1,
        ticks_per_epoch=ticks_per_epoch,
        warmup=warmup_epochs * ticks_per_epoch,
        span=(epochs - warmup_epochs) * ticks_per_epoch,
    )


def _cosine(lr: optim.Cosine, tick: int, schedule: Schedule) -> float:
    """SGDR without restarts (Loshchilov and Hutter, arXiv 1608.03983, equation 5)."""
    if not schedule.span:
        return lr.learning_rate
    return lr.eta_min + (lr.learning_rate - lr.eta_min) * (1 + math.cos(math.pi * tick / schedule.span)) / 2


def _linear(lr: optim.Linear, tick: int, schedule: Schedule) -> float:
    """Polynomial of degree `power`; with `cycle` it starts again, stretched, at each end of the span."""
    span = schedule.span
    if not span:
        return lr.learning_rate
    if lr.cycle:
        span *= max(1, math.ceil(tick / span))
    return (lr.learning_rate - lr.end_lr) * (1 - min(tick, span) / span) ** lr.power + lr.end_lr


def _step(lr: optim.Step, tick: int, schedule: Schedule) -> float:
    return lr.learning_rate * lr.gamma ** (tick // (lr.step_size * schedule.ticks_per_epoch))


def _piecewise(lr: optim.Piecewise, tick: int, schedule: Schedule) -> float:
    passed = sum(tick >= epoch * schedule.ticks_per_epoch for epoch in lr.decay_epochs)
    return lr.values[passed]


def _multi_step(lr: optim.MultiStepDecay, tick: int, schedule: Schedule) -> float:
    passed = sum(tick >= epoch * schedule.ticks_per_epoch for epoch in lr.milestones)
    return lr.learning_rate * lr.gamma**passed


def _cyclic(lr: optim.Cyclic, tick: int, schedule: Schedule) -> float:
    """Triangles between the two rates; "triangular2" halves and "exp_range" shrinks them (arXiv 1506.01186)."""
    up, down = lr.step_size_up, lr.step_size_down or lr.step_size_up
    cycle, place = divmod(tick, up + down)
    height = place / up if place <= up else (up + down - place) / down
    scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": lr.exp_gamma**tick}[lr.mode]
    return lr.base_learning_rate + (lr.max_learning_rate - lr.base_learning_rate) * height * scale


def _one_cycle(lr: optim.OneCycleLR, tick: int, schedule: Schedule) -> float:
    """From max / divide_factor to max within phase_pct of the run and down to the end; knots as in Paddle."""
    rise, first = lr.phase_pct * schedule.span, lr.max_learning_rate / lr.divide_factor
    knots = [(0, first), (rise - 1, lr.max_learning_rate), (schedule.span - 1, lr.end_learning_rate)]
    if lr.three_phase:
        knots.insert(2, (2 * rise - 2, first))
    phase = sum(tick > end for end, _ in knots[1:-1])
    (begin, start), (end, stop) = knots[phase : phase + 2]
    share = min((tick - begin) / (end - begin), 1.0) if end > begin else 1.0
    if lr.anneal_strategy == "cos":
        share = (1 - math.cos(math.pi * share)) / 2
    return start + (stop - start) * share


def _constant(lr: optim.ConstLR, tick: int, schedule: Schedule) -> float:
    return lr.learning_rate


# The name of Paddle's class, and the function.
_KINDS: dict[type, tuple[str, Callable[[Any, int, Schedule], float]]] = {
    optim.Cosine: ("CosineAnnealingDecay", _cosine),
    optim.Linear: ("PolynomialDecay", _linear),
    optim.Step: ("StepDecay", _step),
    optim.Piecewise: ("PiecewiseDecay", _piecewise),
    optim.MultiStepDecay: ("MultiStepDecay", _multi_step),
    optim.Cyclic: ("CyclicLR", _cyclic),
    optim.OneCycleLR: ("OneCycleLR", _one_cycle),
    optim.ConstLR: ("Constant", _constant),
}
