"""Transforms of a whole training batch that mix images and, in the same proportion, their labels."""

from typing import Any, Dict

import numpy as np

from ..config.check import bind_plain
from ..config.types import PositiveFloat
from ..errors import ConfigError
from ..registry import BATCH_TRANSFORMS


def build_batch_transforms(ops, class_num):
    """Build the batch transforms `ops`, an iterable of (name, parameters); None when there are none.

    Raises:
        ConfigError: an unknown name or parameter, or a value of the wrong type or range.
    """
    ops = [_build(name, params) for name, params in ops or ()]
    return BatchTransforms(ops, class_num) if ops else None


def _build(name, params):
    return bind_plain(BATCH_TRANSFORMS.get(name), dict(params or {}), name)


class BatchTransforms:
    """Apply batch transforms in order to images (N, C, H, W) and int labels (N,); labels become (N, K)."""

    def __init__(self, ops, class_num):
        self.ops = list(ops)
        self.class_num = class_num

    def __call__(self, images, labels, rng):
        labels = np.eye(self.class_num, dtype=np.float32)[labels]
        for op in self.ops:
            images, labels = op(images, labels, rng)
        return images, labels


def _mix(values, order, share):
    share = np.float32(share)
    return share * values + (1 - share) * values[order]


@BATCH_TRANSFORMS.register()
class MixupOperator:
    """mixup (Zhang et al., arXiv 1710.09412, section 2): weighted means of pairs of images and labels.

    One weight is drawn from Beta(alpha, alpha) for the whole batch.
    """

    def __init__(self, alpha: PositiveFloat = 1.0):
        self.alpha = alpha

    def __call__(self, images, labels, rng):
        order = rng.permutation(len(images))
        share = rng.beta(self.alpha, self.alpha)
        return _mix(images, order, share), _mix(labels, order, share)


@BATCH_TRANSFORMS.register()
class CutmixOperator:
    """CutMix (Yun et al., arXiv 1905.04899, section 3.1): a box of another image is pasted into each image.

    One box for the whole batch; its area is 1 - lambda of the image, lambda from Beta(alpha, alpha), its
    centre uniform. The labels are mixed by the area that lies inside the image.
    """

    def __init__(self, alpha: PositiveFloat = 0.2):
        self.alpha = alpha

    def __call__(self, images, labels, rng):
        order = rng.permutation(len(images))
        height, width = images.shape[2:]
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        top, bottom = _span(height, int(height * side), rng)
        left, right = _span(width, int(width * side), rng)
        mixed = images.copy()
        mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, _mix(labels, order, share)


def _span(length, cut, rng):
    """Return the ends of a stretch of `cut` pixels with a random centre, clipped to 0..length."""
    centre = rng.integers(length)
    return max(0, centre - cut // 2), min(length, centre + cut // 2)


@BATCH_TRANSFORMS.register()
class OpSampler:
    """Apply one batch transform, chosen anew for each batch by the `prob` of each; with the rest, none.

    Args:
        operators: name of a batch transform -> its parameters and its `prob`. The sum of `prob` is at most 1.
    """

    def __init__(self, **operators: Dict[str, Any]):
        self.ops, self.probabilities = [], []
        for name, params in operators.items():
            params = dict(params or {})
            probability = params.pop("prob", None)
            if isinstance(probability, bool) or not isinstance(probability, (int, float)):
                raise ConfigError(f"{name} needs its prob, a number from 0 to 1; for example prob: 0.5")
            self.ops.append(_build(name, params))
            self.probabilities.append(probability)
        total = sum(self.probabilities)
        if not self.ops or min(self.probabilities) < 0 or total > 1 + 1e-9:
            raise ConfigError(
                f"prob of the operators must be from 0 to 1 and add up to at most 1; got {total:g}"
            )

    def __call__(self, images, labels, rng):
        chosen = np.searchsorted(np.cumsum(self.probabilities), rng.random(), side="right")
        return self.ops[chosen](images, labels, rng) if chosen < len(self.ops) else (images, labels)
