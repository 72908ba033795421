"""Which samples make up the batches of an epoch, as a function of the seed, the epoch and the rank."""

import math
from typing import NamedTuple, Optional, Tuple

import numpy as np

from ..errors import ConfigError


class Plan(NamedTuple):
    """What one batch is made of: int64 `indices` (N,), and the size its images are cut to.

    `size` is (width, height) in pixels, in place of the one that the random crop of the transforms was
    given; None keeps that.
    """

    indices: np.ndarray
    size: Optional[Tuple[int, int]] = None


class BatchSampler:
    """Which samples make up each batch of an epoch on one rank.

    All ranks draw the same order, from the seed and the epoch, and take every `world_size`-th sample.

    Args:
        length: number of samples.
        batch_size: per rank.
        shuffle: a new order each epoch; False keeps the list's.
        drop_last: leave out an incomplete last batch.
        seed: of the order.
        rank, world_size: this process among all.
        pad: training: samples from the start of the order are repeated until all ranks have equally many
            (as PaddleClas' DistributedBatchSampler does). False, for evaluation: every sample exactly once.

    Raises:
        ConfigError: `drop_last` leaves no batch at all.
    """

    def __init__(
        self,
        length,
        batch_size,
        shuffle=False,
        drop_last=False,
        seed=0,
        rank=0,
        world_size=1,
        pad=True,
    ):
        self.length, self.batch_size, self.shuffle, self.drop_last = length, batch_size, shuffle, drop_last
        self.seed, self.rank, self.world_size, self.pad = seed, rank, world_size, pad
        if drop_last and self._share() < batch_size:
            raise ConfigError(
                f"{length} images on {world_size} process(es) do not fill one batch of {batch_size}; "
                f"lower sampler.batch_size or write drop_last: False"
            )

    def __len__(self):
        share = self._share()
        return share // self.batch_size if self.drop_last else math.ceil(share / self.batch_size)

    def batches(self, epoch):
        """Return the batches of `epoch` on this rank: a list of `Plan`s."""
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        if self.pad:
            order = np.resize(order, math.ceil(self.length / self.world_size) * self.world_size)
        own = order[self.rank :: self.world_size]
        return [Plan(own[i * self.batch_size : (i + 1) * self.batch_size]) for i in range(len(self))]

    def _share(self):
        if self.pad:
            return math.ceil(self.length / self.world_size)
        return len(range(self.rank, self.length, self.world_size))
