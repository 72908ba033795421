"""Learning rate range test: the loss while the rate rises exponentially, step by step, from very low to very high.

Smith, "Cyclical learning rates for training neural networks" (arXiv 1506.01186, section 3.3). The steps are those of
the training that the config describes, from the same first weights and over the same batches: too low a rate teaches
nothing, a good one lowers the loss fast, too high a one lets it diverge.

Rates here are values of `Optimizer.lr.learning_rate`, which updates of another global batch multiply, see
`global_batch`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import statistics
from typing import Generator

import numpy as np

from ..config import Config
from ..config.losses import MultiLabelLoss
from ..config.optim import LearningRate
from ..errors import ConfigError
from ..optim.schedule import Schedule
from .averages import NotFiniteError
from .distributed import Runtime
from .global_batch import multiplied, peak_rate, rate_factor, rates_of
from .log import LOGGER, StepTimer, progress
from .trainer import Trainer

LOW, HIGH, STEPS = 1e-5, 10.0, 300
FEWEST_STEPS = 20
# Steps over which the loss is smoothed: 0.3 decades of the default range, by which the curve is delayed, too.
_SMOOTHED_SHARE, _SMOOTHED_LEAST = 1 / 20, 5
_DIVERGED = 4.0  # times the least loss, as fastai and Lightning have it


@dataclasses.dataclass
class RangeTest:
    """Points of a range test, as they are measured, and the readings of the finished curve.

    `chance` is the loss of guessing, ln(classes) but for tags: a trained network may be far below it, where a factor
    says little.
    """

    steps: int  # that the rate needs from the lowest to the highest
    chance: float
    rates: list[float] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)
    smoothed: list[float] = dataclasses.field(default_factory=list)
    diverged: bool = False

    def __post_init__(self) -> None:
        self._window = max(_SMOOTHED_LEAST, round(self.steps * _SMOOTHED_SHARE))
        self._beta, self._average = 1 - 1 / self._window, 0.0

    def add(self, rate: float, loss: float) -> None:
        """Add the mean loss of a step at `rate`; one that is not finite is no point, but the divergence.

        Smoothed is the exponential average, divided by the sum of its weights so far (Kingma and Ba, arXiv 1412.6980,
        section 3).
        """
        if not math.isfinite(loss):
            self.diverged = True
            return
        self.rates.append(rate)
        self.losses.append(loss)
        self._average = self._beta * self._average + (1 - self._beta) * loss
        self.smoothed.append(self._average / (1 - self._beta ** len(self.losses)))
        self.diverged = self.smoothed[-1] > max(_DIVERGED * min(self.smoothed), self.chance)

    @property
    def minimum(self) -> int:
        """Number of the point with the least smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def steepest(self) -> int:
        """Number of the point, up to `minimum`, where the smoothed loss falls fastest over log(rate)."""
        end = self.minimum + 1
        return int(np.argmin(np.gradient(self.smoothed[:end], np.log(self.rates[:end])))) if end > 1 else 0

    @property
    def bound(self) -> int:
        """Number of the last point whose smoothed loss is not above the first full window's: training bears no more."""
        start = self.smoothed[min(self._window, len(self.smoothed)) - 1]
        return int(np.flatnonzero(np.array(self.smoothed) <= start)[-1])

    @property
    def fell(self) -> bool:
        """True if the loss fell by more than chance does: by five standard errors of a mean over as many steps.

        The variance of the losses is half the mean square of their successive differences, without the trend (von
        Neumann, 1941).
        """
        first, end = self._window - 1, self.minimum
        if end <= first:
            return False
        error = math.sqrt(np.square(np.diff(self.losses[: end + 1])).mean() / 2 / self._window)
        return self.smoothed[first] - self.smoothed[end] > 5 * error

    @property
    def suggestion(self) -> float | None:
        """Rate one decade below the `bound`; None when the loss did not fall.

        A good rate is near the highest that does not diverge (Bengio, arXiv 1206.5533, section 3.1.1). The decade
        makes up for a rise so fast that the loss has no time to diverge where it would. The bound is where the curve
        is steep; its least loss, a decade below which is fastai's suggestion, is often anywhere on a long floor.
        """
        return self.rates[self.bound] / 10 if self.fell else None


@dataclasses.dataclass(frozen=True)
class _Rising(Schedule):
    """Exponential rise from `low` at step 0 to `high` at step `span`."""

    low: float = LOW
    high: float = HIGH

    def __call__(self, step: int) -> float:
        return self.low * (self.high / self.low) ** (step / self.span)


def range_test(
    config: Config, runtime: Runtime, low: float = LOW, high: float = HIGH, steps: int = STEPS
) -> RangeTest:
    """Train as `config` says for `steps` updates at rates from `low` to `high`, or until the loss diverges.

    Nothing is written or evaluated. Where an epoch has fewer steps, further ones follow.

    Raises:
        ConfigError: the bounds or the number of steps make no curve, or there are several processes.
        UserError: already the first loss is not finite.
    """
    _check(runtime, low, high, steps)
    trainer, factor = Trainer(_without_files(config), runtime), rate_factor(config, runtime)
    per_epoch = trainer.position.steps_per_epoch
    trainer.schedule = _Rising(trainer.lr, 1, per_epoch, 0, steps - 1, low * factor, high * factor)
    trainer.model.train()
    test, timer = RangeTest(steps, _chance(config)), StepTimer()
    with progress() as show, contextlib.closing(_losses(trainer, steps)) as losses:
        try:
            for step, loss in losses:
                timer.data_ready()
                timer.step_done(0)
                test.add(trainer.schedule(step) / factor, loss)
                rate, values = test.rates[-1], {"loss": test.smoothed[-1]}
                show(f"learning rate {rate:.2e}", step + 1, steps, values, timer, steps - step - 1)
                if test.diverged:
                    break
        except NotFiniteError:
            if not test.losses:
                raise
            test.diverged = True
    return test


def _chance(config: Config) -> float:
    """Return the loss of guessing; 0, no bound, where that depends on the tags themselves."""
    classes = config.Arch.class_num
    if not config.multilabel:
        return math.log(max(2, classes))
    plain = [loss for loss in config.Loss.of("Train") if isinstance(loss, MultiLabelLoss)]
    return sum(loss.weight * (classes if loss.size_sum else 1) * math.log(2) for loss in plain)


def _check(runtime: Runtime, low: float, high: float, steps: int) -> None:
    if runtime.world_size > 1:
        raise ConfigError(
            "the learning rate is searched by one process; start it without paddle.distributed.launch, and let "
            "Optimizer.lr.base_batch_size carry the rate over to several"
        )
    if not 0 < low < high or not math.isfinite(high):
        raise ConfigError(
            f"the rates rise from {low:g} to {high:g}; for example --low {LOW:g} --high {HIGH:g}"
        )
    if steps < FEWEST_STEPS:
        raise ConfigError(f"{steps} steps make no curve; use --steps {STEPS}, or {FEWEST_STEPS} at least")


def _without_files(config: Config) -> Config:
    """Return `config` for a training that only counts its losses."""
    if config.Global.checkpoints:
        LOGGER.warning("Global.checkpoints: left out: the test starts where a training starts")
    own = copy.copy(config)
    own.EMA = None
    own.Global = config.Global.of_a_trial(eval_during_train=False, early_stop=None)
    return own


def _losses(trainer: Trainer, steps: int) -> Generator[tuple[int, float], None, None]:
    """Train, and yield the number of each update with the mean loss of its batches."""
    for epoch in range(math.ceil(steps / trainer.position.steps_per_epoch)):
        trainer.position = trainer.position.at(epoch, 0)
        of_step: list[float] = []
        with contextlib.closing(trainer.reader.loader.epoch(epoch)) as batches:
            for batch in batches:
                at = trainer.position.at(epoch, batch.number)
                if at.step == steps:
                    return
                losses = trainer.train_step(batch)[-1]
                trainer.losses.check()
                of_step.append(float(losses["loss"]))
                if at.ends_step:
                    yield at.step, statistics.fmean(of_step)
                    of_step = []


def override(lr: LearningRate, rate: float) -> str:
    """Return the `-o` values that raise or lower `lr` as a whole, so that `rate` is the highest of its schedule."""
    now, then = rates_of(lr), rates_of(multiplied(lr, rate / peak_rate(lr)))
    changed = [name for name in now if now[name] != then[name]] or ["learning_rate"]
    return " ".join(f"Optimizer.lr.{name}={_shown(then[name])}" for name in changed)


def _shown(value: float | list[float]) -> str:
    return f"[{','.join(map(_shown, value))}]" if isinstance(value, list) else f"{value:.3g}"
