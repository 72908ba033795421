"""Means of losses over any number of batches and processes.

Batches stay on their device until a result is asked for: reading them waits for the device, adding does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Callable, Dict, List

import numpy as np
import paddle

from ..errors import UserError, listed
from .distributed import gather, mean_over_ranks, raise_on_all_ranks

if TYPE_CHECKING:
    from .distributed import Runtime
    from .position import Position


class Averages:
    """Means over the images of named values, given batch by batch."""

    def __init__(self) -> None:
        self._sums: Dict[str, float] = {}
        self.images = 0
        self._unread: List[tuple] = []

    def update(self, values: Dict[str, paddle.Tensor], images: int) -> None:
        """Add scalar tensors by name, means over the `images` of a batch."""
        self._unread.append(({name: value.detach() for name, value in values.items()}, images))

    def read(self) -> List[Dict[str, float]]:
        """Take in the batches added since the last call, and return their values as numbers."""
        rows = []
        for tensors, images in self._unread:
            row = {name: float(tensor) for name, tensor in tensors.items()}
            for name, value in row.items():
                self._sums[name] = self._sums.get(name, 0.0) + value * images
            self.images += images
            rows.append(row)
        self._unread = []
        return rows

    def means(self) -> Dict[str, float]:
        self.read()
        return {name: total / self.images for name, total in self._sums.items()}


class NotFiniteError(UserError):
    """A loss of the training is infinite or NaN."""


class FiniteAverages(Averages):
    """Averages of the losses of a training, which must be finite.

    `check` is for all ranks at once; `means` begins with it. `name_of` gives a training image's name by its index.
    """

    def __init__(self, name_of: Callable[[int], str], runtime: Runtime) -> None:
        super().__init__()
        self._name_of, self._runtime = name_of, runtime
        self._unchecked: List[tuple] = []

    def add(self, losses: Dict[str, paddle.Tensor], at: Position, indices: np.ndarray) -> None:
        """Add the losses of the batch at `at`, made from the images `indices`."""
        self.update(losses, len(indices))
        self._unchecked.append((at, indices))

    def check(self) -> None:
        """Read the losses that were added since the last call.

        Raises NotFiniteError on all ranks: names the first loss that is infinite or NaN, its step and its images.
        """
        places, self._unchecked = self._unchecked, []
        bad = [
            (at.batches_before, self._message(name, value, at, indices))
            for row, (at, indices) in zip(self.read(), places)
            for name, value in row.items()
            if not math.isfinite(value)
        ]
        if mean_over_ranks({"bad": len(bad)}, self._runtime)["bad"]:
            # The update of one rank's loss spoils the later ones of all.
            number, message = bad[0] if bad else (math.inf, "")
            first = min(gather(number, self._runtime))
            with raise_on_all_ranks(self._runtime):
                if number == first:
                    raise NotFiniteError(message)

    def means(self) -> Dict[str, float]:
        self.check()
        return super().means()

    def _message(self, name: str, value: float, at: Position, indices: np.ndarray) -> str:
        files = listed((self._name_of(int(index)) for index in indices), 8)
        return (
            f"{name} is {value} at step {at.step} (epoch {at.epoch + 1}, rank {self._runtime.rank}) before the "
            f"update; lower Optimizer.lr.learning_rate or set Optimizer.clip_grad; images: {files}"
        )
