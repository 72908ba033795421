"""Metrics over any number of batches and processes.

Batches stay on their device until a result is asked for: reading them waits for the device, adding does not.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Sequence

import numpy as np
import paddle

from ..base.probabilities import probabilities
from ..config.metrics import OF_TAGS, TopkAcc
from .distributed import gather
from .score_metrics import measured

if TYPE_CHECKING:
    from .distributed import Runtime

logger = logging.getLogger(__name__)


def warn_of_trivial(specs: Iterable[Any], class_num: int) -> None:
    """Log once which k of `specs` are so high that their accuracy says nothing."""
    ks = dict.fromkeys(k for spec in specs if isinstance(spec, TopkAcc) for k in spec.ks())
    trivial = [f"top{k}" for k in ks if k >= class_num]
    if trivial:
        logger.warning(
            "%s of %d classes is always 1.0; take it out of Metric: TopkAcc: topk",
            ", ".join(trivial),
            class_num,
        )


class Metrics:
    """The metrics of `specs`, of `config.metrics`, over any number of batches and processes.

    Accuracies are counted. The others need the answers to all images at once, which are kept, on the CPU.
    """

    def __init__(self, specs: Iterable[Any]) -> None:
        self.specs = list(specs)
        ks = [k for spec in self.specs if isinstance(spec, TopkAcc) for k in spec.ks()]
        self.accuracy = TopkAccuracy(dict.fromkeys(ks))
        self._of_all = [spec for spec in self.specs if not isinstance(spec, TopkAcc)]
        self._of_tags = any(isinstance(spec, OF_TAGS) for spec in self._of_all)
        self._answers: List[tuple] = []

    def __bool__(self) -> bool:
        return bool(self.specs)

    @paddle.no_grad()
    def update(self, logits: paddle.Tensor, labels: paddle.Tensor) -> None:
        """Add a batch: logits (N, K), and class indices int64 (N,), -1 of images that do not count, or tags (N, K)."""
        if self.accuracy.ks:
            self.accuracy.update(logits, labels)
        if self._of_all:
            self._answers.append((logits.astype("float32").numpy(), labels.numpy()))

    def join(self, runtime: Runtime) -> None:
        """Add what the other processes have; those of all are the same afterwards."""
        if self._of_all:
            self._answers = [pair for answers in gather(self._answers, runtime) for pair in answers]

    def running(self) -> Dict[str, float]:
        """Return the results that cost little, of the batches so far."""
        return self.accuracy.compute()

    def compute(self) -> Dict[str, float]:
        """Return all results by name, in the order of the specs; NaN where there was no image that counts."""
        counted = self.accuracy.compute()
        results: Dict[str, float] = {}
        if self._answers:
            logits, labels = (np.concatenate(arrays) for arrays in zip(*self._answers))
            scores = probabilities(logits, self._of_tags)
        for spec in self.specs:
            if isinstance(spec, TopkAcc):
                results.update((name, counted[name]) for name in spec.result_names)
            elif self._answers:
                results.update(measured(spec, scores, labels))
            else:
                results.update(dict.fromkeys(spec.result_names, math.nan))
        return results


class TopkAccuracy:
    """Share of images whose label is among the k highest logits, for each k of `ks`.

    Equal logits rank in the order of their class index, as in a stable sort. A NaN logit ranks above every
    number and a NaN at the label ranks last, so that a broken network never scores. A k from the number of
    classes on is trivially 1.0, see `warn_of_trivial`.

    Only whole numbers are kept. Processes are joined by adding up their `totals()`: `metric.load(sum of totals)`.
    """

    def __init__(self, ks: Iterable[int]) -> None:
        self.ks = tuple(ks)
        self._totals: np.ndarray = np.zeros(1 + len(self.ks), np.int64)
        self._unread: List[paddle.Tensor] = []

    @paddle.no_grad()
    def update(self, logits: paddle.Tensor, labels: paddle.Tensor) -> None:
        """Add a batch: logits (N, K), class indices int64 (N,), -1 of images that do not count."""
        classes = logits.shape[1]
        given = labels.reshape([-1, 1])
        labels = given.clip(min=0)
        own = paddle.take_along_axis(logits, labels, axis=1)
        later = paddle.arange(classes, dtype=labels.dtype) > labels
        behind = paddle.logical_or(logits < own, paddle.logical_and(logits == own, later))
        ranks = classes - 1 - behind.astype("int64").sum(axis=1)
        self._unread.append(paddle.where(given[:, 0] < 0, given[:, 0], ranks))

    def totals(self) -> np.ndarray:
        """Return int64 (1 + len(ks),): the images, then the correct ones for each k."""
        for ranks in map(paddle.Tensor.numpy, self._unread):
            ranks = ranks[ranks >= 0]
            self._totals += [len(ranks), *(np.count_nonzero(ranks < k) for k in self.ks)]
        self._unread = []
        return self._totals.copy()

    def load(self, totals: Sequence[float]) -> None:
        """Replace the counts by `totals`, as `totals()` returns them, summed or not."""
        self._totals, self._unread = np.array(totals, np.int64), []

    def compute(self) -> Dict[str, float]:
        """Return {"top1": share, ...} in the order of `ks`; NaN when there was no image."""
        images, *correct = self.totals().tolist()
        return {f"top{k}": count / images if images else math.nan for k, count in zip(self.ks, correct)}
