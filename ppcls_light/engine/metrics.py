"""Accuracy over any number of batches and processes."""

import logging

import numpy as np
import paddle

logger = logging.getLogger(__name__)


def build_metric(specs):
    """Return one TopkAccuracy for all k of `specs` (config.optim.TopkAcc), each k once, in their order."""
    return TopkAccuracy(dict.fromkeys(k for spec in specs for k in spec.ks()))


def warn_of_trivial(specs, class_num):
    """Log once which k of `specs` (config.optim.TopkAcc) are so high that their accuracy says nothing."""
    trivial = [f"top{k}" for k in build_metric(specs).ks if k >= class_num]
    if trivial:
        logger.warning(
            "%s of %d classes is always 1.0; take it out of Metric: TopkAcc: topk",
            ", ".join(trivial),
            class_num,
        )


class TopkAccuracy:
    """Share of images whose label is among the k highest logits, for each k of `ks`.

    Equal logits rank in the order of their class index, as in a stable sort. A NaN logit ranks above every
    number and a NaN at the label ranks last, so that a broken network never scores. A k from the number of
    classes on is trivially 1.0, see `warn_of_trivial`.

    Only whole numbers are kept between updates. Processes are joined by adding up their `totals()`:
    `metric.load(sum of totals)`.
    """

    def __init__(self, ks):
        self.ks = tuple(ks)
        self.names = tuple(f"top{k}" for k in self.ks)
        self.reset()

    def reset(self):
        """Forget all images."""
        self._images = 0
        self._correct = np.zeros(len(self.ks), np.int64)

    @paddle.no_grad()
    def update(self, logits, labels):
        """Add a batch: logits (N, K), class indices int64 (N,)."""
        classes = logits.shape[1]
        labels = labels.reshape([-1, 1])
        own = paddle.take_along_axis(logits, labels, axis=1)
        later = paddle.arange(classes, dtype=labels.dtype) > labels
        behind = paddle.logical_or(logits < own, paddle.logical_and(logits == own, later))
        ranks = classes - 1 - behind.astype("int64").sum(axis=1).numpy()
        self._images += len(ranks)
        self._correct += [np.count_nonzero(ranks < k) for k in self.ks]

    def compute(self):
        """Return {"top1": share, ...} in the order of `ks`; NaN when there was no image."""
        return {
            name: int(correct) / self._images if self._images else float("nan")
            for name, correct in zip(self.names, self._correct)
        }

    def totals(self):
        """Return int64 (1 + len(ks),): the images, then the correct ones for each k."""
        return np.array([self._images, *self._correct], np.int64)

    def load(self, totals):
        """Replace the counts by `totals`, as `totals()` returns them, summed or not."""
        images, *correct = np.asarray(totals, np.int64)
        self._images, self._correct = int(images), np.array(correct, np.int64)
