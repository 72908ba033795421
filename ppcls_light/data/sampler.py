"""Batches of an epoch as lists of samples, a function of the seed, the epoch and the rank."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, Sequence

import numpy as np

from ..errors import ConfigError


class Plan(NamedTuple):
    """Samples of one batch: int64 `indices` (N,), and the size that their images are cut to.

    `size` is (width, height) in pixels, in place of the one that the random crop of the transforms was
    given; None keeps that.
    """

    indices: np.ndarray
    size: tuple[int, int] | None = None


class SizeSchedule(NamedTuple):
    """Progressive resizing: images of `size` x `size` pixels before epoch `until` (from 0), then full size.

    FasterNet's authors write it as "192_280" (JierunChen/FasterNet, cfg/*.yaml, `multi_scale`).
    """

    size: int
    until: int

    @classmethod
    def parse(cls, text: object) -> SizeSchedule:
        """Read "SIZE_EPOCH". Raises ConfigError for anything else."""
        match = re.fullmatch(r"([1-9][0-9]{0,8})_([1-9][0-9]{0,8})", str(text))
        if match is None:
            raise ConfigError(
                f"'{text}' is no size schedule; write SIZE_EPOCH, for example 192_280 for images of 192 pixels "
                "before epoch 280"
            )
        return cls(*map(int, match.groups()))

    def at(self, epoch: int) -> tuple[int, int] | None:
        """Return the (width, height) of the images of `epoch`, None for the transforms' own."""
        return (self.size, self.size) if epoch < self.until else None


class SampleOrder:
    """The order of the samples in an epoch, the same on every rank.

    Args:
        shuffle: a new order each epoch; False keeps the list's.
        labels: int (length,); an epoch then has every class that occurs equally often, about `length` samples
            in all, whatever `shuffle` says. Each run of as many samples as there are classes has one of each.
            A class begins anew, in another order, when all of its images were drawn; of a class that has more
            than its share, other images come in other epochs.
        world_size: balanced epochs are lengthened by whole rounds until they divide among the ranks.
    """

    def __init__(
        self, length: int, shuffle: bool, seed: int, labels: np.ndarray | None = None, world_size: int = 1
    ) -> None:
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self._members: list[np.ndarray] = []  # of each class, in a balanced order
        if labels is not None:
            self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
            rounds = math.ceil(length / len(self._members))
            while rounds * len(self._members) % world_size:
                rounds += 1
            self.length = rounds * len(self._members)

    def __len__(self) -> int:
        return self.length

    def __call__(self, epoch: int) -> np.ndarray:
        """Return the int64 (len(self),) order of `epoch`."""
        rng = np.random.default_rng([self.seed, epoch])
        if self._members:
            rounds = self.length // len(self._members)
            drawn = [_rounds(members, rounds, rng) for members in self._members]
            return rng.permuted(np.stack(drawn, axis=1), axis=1).ravel()
        order: np.ndarray = np.arange(self.length)
        if self.shuffle:
            rng.shuffle(order)
        return order


def _rounds(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` of `members` in shuffled rounds, so that each is drawn once per round."""
    times = math.ceil(count / len(members))
    return np.concatenate([rng.permutation(members) for _ in range(times)])[:count]


@dataclass(eq=False)
class BatchSampler:
    """Batches of an epoch on one rank.

    All ranks draw the same order, from the seed and the epoch, and take every `world_size`-th sample.

    Raises ConfigError: `drop_last` leaves no batch at all.
    """

    length: int
    batch_size: int  # per rank
    shuffle: bool = False  # a new order each epoch; False keeps the list's
    drop_last: bool = False  # leave out an incomplete last batch
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    # Training: samples from the start of the order are repeated until all ranks have equally many (as
    # PaddleClas' DistributedBatchSampler does). False, for evaluation: every sample exactly once.
    pad: bool = True
    # Labels int (length,) of the samples: see `SampleOrder`. None: each sample once.
    balance: np.ndarray | None = None
    size_schedule: SizeSchedule | None = None  # None keeps the transforms' own size throughout

    def __post_init__(self) -> None:
        self.order = SampleOrder(self.length, self.shuffle, self.seed, self.balance, self.world_size)
        if self.drop_last and self._share() < self.batch_size:
            raise ConfigError(
                f"{self.length} images on {self.world_size} process(es) do not fill one batch of {self.batch_size}; "
                f"lower sampler.batch_size or write drop_last: False"
            )

    def __len__(self) -> int:
        share = self._share()
        return share // self.batch_size if self.drop_last else math.ceil(share / self.batch_size)

    def batches(self, epoch: int) -> list[Plan]:
        """Return the batches of `epoch` on this rank."""
        order = self.order(epoch)
        if self.pad:
            order = np.resize(order, self._share() * self.world_size)
        own = order[self.rank :: self.world_size]
        size = self.size_schedule.at(epoch) if self.size_schedule else None
        return [Plan(own[i * self.batch_size : (i + 1) * self.batch_size], size) for i in range(len(self))]

    def _share(self) -> int:
        if self.pad:
            return math.ceil(len(self.order) / self.world_size)
        return len(range(self.rank, len(self.order), self.world_size))


@dataclass(eq=False)
class MultiScaleSampler:
    """Batches of several image sizes with about equally many pixels each (PaddleClas' MultiScaleSampler).

    The idea is MobileViT's (Mehta and Rastegari, arXiv 2110.02178, section 3.2): each batch has one size, drawn
    uniformly, and the more images the smaller they are. Which sizes an epoch has is drawn once, their order
    anew for each epoch: all epochs have equally many batches, as the learning rate needs it, and a step has
    the same size on every rank. The last batch is filled up from the start of the order.

    Raises ConfigError: no scale, or one smaller than `divided_factor`; `first_bs` is more than there are samples.
    """

    length: int
    # Sides, or [width, height], in pixels. The first is the one of batches of `first_bs`.
    scales: Sequence[int | Sequence[int]]
    first_bs: int  # batch size per rank at the first scale
    divided_factor: int = 32  # sizes are rounded down to multiples of it
    # From here on as in `BatchSampler`.
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    balance: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.order = SampleOrder(self.length, self.shuffle, self.seed, self.balance, self.world_size)
        factor = self.divided_factor
        pairs = [(scale, scale) if isinstance(scale, int) else tuple(scale) for scale in self.scales]
        if not pairs or min(map(min, pairs)) < factor:
            raise ConfigError(
                f"scales are sizes of at least divided_factor, {factor} pixels; for example "
                f"scales: [{5 * factor}, {6 * factor}, {8 * factor}]"
            )
        if self.first_bs * self.world_size > self.length:
            raise ConfigError(
                f"first_bs {self.first_bs} on {self.world_size} process(es) is more than the {self.length} images; "
                "lower it"
            )
        pixels = self.first_bs * math.prod(pairs[0])
        self.sizes = [(width // factor * factor, height // factor * factor) for width, height in pairs]
        self.batch_sizes = [max(1, pixels // math.prod(size)) for size in self.sizes]
        self._drawn = self._draw_scales(math.ceil(len(self.order) / self.world_size))

    def __len__(self) -> int:
        return len(self._drawn)

    def batches(self, epoch: int) -> list[Plan]:
        """Return the batches of `epoch` on this rank."""
        # The trailing number tells this stream from those of the order, the samples and the batches.
        scales = np.random.default_rng([self.seed, epoch, 0, 2]).permutation(self._drawn)
        ends = np.cumsum([self.batch_sizes[scale] for scale in scales])
        own = np.resize(self.order(epoch), ends[-1] * self.world_size)[self.rank :: self.world_size]
        parts = np.split(own, ends[:-1])
        return [Plan(indices, self.sizes[scale]) for indices, scale in zip(parts, scales)]

    def _draw_scales(self, share: int) -> list[int]:
        """Return indices of scales whose batches together have room for `share` samples."""
        rng = np.random.default_rng([self.seed, 0, 0, 3])
        drawn: list[int] = []
        while share > 0:
            drawn.append(int(rng.integers(len(self.sizes))))
            share -= self.batch_sizes[drawn[-1]]
        return drawn
