"""`Position`: epoch, batch and update counters in a training run, all counted from 0."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Position:
    """Batch number `batch` of `epoch`, and the step that it belongs to.

    A step is one update of the weights, made from `update_freq` batches; the last of an epoch from those that are
    left.
    """

    batches_per_epoch: int
    update_freq: int = 1
    epoch: int = 0
    batch: int = 0

    def at(self, epoch: int, batch: int) -> Position:
        """Return the position of a batch; the one after the last of an epoch is the first of the next epoch."""
        if batch >= self.batches_per_epoch:
            epoch, batch = epoch + 1, 0
        return dataclasses.replace(self, epoch=epoch, batch=batch)

    def next(self) -> Position:
        return self.at(self.epoch, self.batch + 1)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.batches_per_epoch / self.update_freq)

    @property
    def step_in_epoch(self) -> int:
        return self.batch // self.update_freq

    @property
    def step(self) -> int:
        """Updates before the one that this batch belongs to."""
        return self.epoch * self.steps_per_epoch + self.step_in_epoch

    @property
    def batches_before(self) -> int:
        """Batches of the run before this one."""
        return self.epoch * self.batches_per_epoch + self.batch

    @property
    def batches_of_step(self) -> int:
        """Batches that the step of this one is made from."""
        return min(self.update_freq, self.batches_per_epoch - self.step_in_epoch * self.update_freq)

    @property
    def ends_step(self) -> bool:
        return self.next().step != self.step
