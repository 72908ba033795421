"""Transforms of a whole training batch that mix images and, in the same proportion, their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Dict, Iterable, Literal, Mapping, Optional, Tuple

import numpy as np
from numpy.random import Generator

from ..config.bind import bind_plain
from ..config.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Range
from ..errors import ConfigError
from ..registry import BATCH_TRANSFORMS

Mixed = Tuple[np.ndarray, np.ndarray]  # images and labels


def build_batch_transforms(
    ops: Iterable[tuple[str, Any]] | None, class_num: int, multilabel: bool = False
) -> BatchTransforms | None:
    """Build the batch transforms `ops`, (name, parameters) each, as `build_transforms` does; None for none."""
    built = [_build(name, params) for name, params in ops or ()]
    for op in _with_inner(built):
        if getattr(op, "num_classes", None) not in (None, class_num):
            raise ConfigError(
                f"num_classes {op.num_classes} is not Arch.class_num {class_num}; leave num_classes out"
            )
        op.multilabel = multilabel
    return BatchTransforms(built, class_num) if built else None


def _build(name: str, params: Mapping[str, Any] | None) -> Any:
    return bind_plain(BATCH_TRANSFORMS.get(name), dict(params or {}), name)


def _with_inner(ops: list[Any]) -> list[Any]:
    """Return `ops` and those that an `OpSampler` among them chooses from."""
    return [inner for op in ops for inner in (op, *getattr(op, "ops", ()))]


@dataclass
class BatchTransforms:
    """Apply batch transforms in order to images (N, C, H, W) and labels: tags (N, K), or int (N,), made (N, K)."""

    ops: list[Any]
    class_num: int

    @property
    def label_smoothing(self) -> float:
        """The most that one of the operations smooths the labels."""
        return max(getattr(op, "label_smoothing", 0.0) for op in _with_inner(self.ops))

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        if labels.ndim == 1:
            labels = np.eye(self.class_num, dtype=np.float32)[labels]
        for op in self.ops:
            images, labels = op(images, labels, rng)
        return images, labels


def _mix(values: np.ndarray, others: np.ndarray, share: Any) -> np.ndarray:
    """Return `share` (a number, one per value, or a mask (H, W)) of `values` and the rest of `others`."""
    share = np.float32(share)
    return share * values + (1 - share) * others


def _mix_labels(labels: np.ndarray, others: np.ndarray, share: Any) -> np.ndarray:
    """Return float (N, K) labels mixed as images are, by a share or one per image (N, 1).

    A tag (K of them) is not known, -1, unless it is known of both images that are to be seen: the one that is known
    would be a target for a picture that may have the tag by its other part.
    """
    unknown = ((labels < 0) & (share > 0)) | ((others < 0) & (share < 1))
    return np.where(unknown, np.float32(-1), _mix(labels, others, share))


@BATCH_TRANSFORMS.register()
@dataclass(eq=False)
class MixupOperator:
    """mixup (Zhang et al., arXiv 1710.09412, section 2): weighted means of pairs of images and labels.

    One weight is drawn from Beta(alpha, alpha) for the whole batch.
    """

    alpha: PositiveFloat = 1.0

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        order = rng.permutation(len(images))
        share = rng.beta(self.alpha, self.alpha)
        return _mix(images, images[order], share), _mix_labels(labels, labels[order], share)


@BATCH_TRANSFORMS.register()
@dataclass(eq=False)
class CutmixOperator:
    """CutMix (Yun et al., arXiv 1905.04899, section 3.1): a box of another image is pasted into each image.

    One box for the whole batch; its area is 1 - lambda of the image, lambda from Beta(alpha, alpha), its
    centre uniform. The labels are mixed by the area that lies inside the image.
    """

    alpha: PositiveFloat = 0.2

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        order = rng.permutation(len(images))
        box = _box(images.shape, rng.beta(self.alpha, self.alpha), rng)
        mixed, share = _paste(images, images[order], box)
        return mixed, _mix_labels(labels, labels[order], share)


def _box(shape: tuple[int, ...], share: float, rng: Generator) -> list[slice]:
    """Draw the rows and columns of a box with 1 - `share` of an image of `shape` (..., H, W).

    Its centre is uniform; the part outside of the image is cut off.
    """
    spans, side = [], np.sqrt(1 - share)
    for length in shape[-2:]:
        half, centre = int(length * side) // 2, rng.integers(length)
        spans.append(slice(max(0, centre - half), min(length, centre + half)))
    return spans


def _paste(images: np.ndarray, others: np.ndarray, box: list[slice]) -> tuple[np.ndarray, float]:
    """Return `images` (N, C, H, W) with the `box` of `others`, and the share that they keep."""
    rows, columns = box
    mixed = images.copy()
    mixed[:, :, rows, columns] = others[:, :, rows, columns]
    return mixed, 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / images[0, 0].size


@BATCH_TRANSFORMS.register()
@dataclass(eq=False)
class FmixOperator:
    """FMix (Harris et al., arXiv 2002.12047, section 4): two images share the picture along a random contour.

    One mask for the whole batch: low-frequency noise, cut at the height that gives the first image lambda of
    the pixels. The labels are mixed by the mean of the mask.
    """

    alpha: PositiveFloat = 1.0  # lambda is from Beta(alpha, alpha)
    # Amplitudes of the noise fall with frequency to this power; larger is smoother.
    decay_power: NonNegativeFloat = 3.0
    # Half the share of the pixels over which the mask goes from 1 to 0 gradually.
    max_soft: Annotated[float, Range(0, 0.5)] = 0.0
    reformulate: bool = False  # lambda from Beta(alpha + 1, alpha) instead (Huszar's form of mixup)

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        order = rng.permutation(len(images))
        share = rng.beta(self.alpha + self.reformulate, self.alpha)
        mask = self.mask(images.shape[2:], share, rng)
        return _mix(images, images[order], mask), _mix_labels(labels, labels[order], mask.mean())

    def mask(self, shape: tuple[int, ...], share: float, rng: Generator) -> np.ndarray:
        """Draw a float32 mask of `shape` (H, W), 0 to 1, whose mean is `share` to the pixel."""
        noise = _low_frequency_noise(shape, self.decay_power, rng)
        place = np.empty(noise.size)  # of each pixel when the highest comes first, in pixels
        place[np.argsort(noise, axis=None)[::-1]] = np.arange(noise.size) + 0.5
        above = share * noise.size - place
        soft = min(self.max_soft, share, 1 - share) * noise.size
        mask = np.clip(0.5 + above / (2 * soft), 0, 1) if soft else above > 0
        return mask.reshape(shape).astype(np.float32)


def _low_frequency_noise(shape: tuple[int, ...], decay_power: float, rng: Generator) -> np.ndarray:
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    amplitude = np.maximum(frequency, 1 / max(shape)) ** -decay_power
    spectrum = amplitude * (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape))
    return np.fft.irfft2(spectrum, shape)


@BATCH_TRANSFORMS.register()
@dataclass(eq=False)
class MixupCutmixHybrid:
    """mixup or CutMix, drawn anew for each batch, pair or image; PaddleClas' and timm's parameters and meaning.

    An image is mixed with the one as far from the end of the batch as it is from the beginning. An odd batch
    is fine: the one in its middle stays as it is.
    """

    # Alphas of the Beta distributions; 0 turns one of the two off.
    mixup_alpha: NonNegativeFloat = 1.0
    cutmix_alpha: NonNegativeFloat = 0.0
    # [low, high] of the box's sides as shares of the image's; turns CutMix on. The box then lies inside the
    # image, and cutmix_alpha is not used.
    cutmix_minmax: Optional[Tuple[Probability, Probability]] = None
    prob: Probability = 1.0
    switch_prob: Probability = 0.5  # probability of CutMix where both are on
    # Scope of a draw: the whole "batch", each "pair" (both get the other's part), or each image ("elem").
    mode: Literal["batch", "pair", "elem"] = "batch"
    # Mix the labels by the area of the box inside the image; False: by the lambda drawn.
    correct_lam: bool = True
    # Of the mixed labels: a share of it is spread over the classes; a tag comes so much nearer to 0.5. `epsilon` of
    # a loss smooths them once more: set one of the two to 0.
    label_smoothing: Probability = 0.1
    num_classes: Optional[PositiveInt] = None  # accepted from PaddleClas; it can only be Arch.class_num

    multilabel: ClassVar[bool] = False  # labels are tags; set by `build_batch_transforms`

    def __post_init__(self) -> None:
        if self.cutmix_minmax is not None:
            if self.cutmix_minmax[0] > self.cutmix_minmax[1]:
                raise ConfigError(f"cutmix_minmax is a range [low, high]; got {list(self.cutmix_minmax)}")
            self.cutmix_alpha = 1.0
        if not (self.mixup_alpha or self.cutmix_alpha):
            raise ConfigError("mixup_alpha and cutmix_alpha are both 0; leave the op out to mix nothing")

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        count = len(images)
        mixed = images.copy()
        shares: np.ndarray = np.ones((count, 1), np.float32)
        groups: list[Any] = [slice(None)]
        if self.mode == "pair":
            groups = [[i, count - 1 - i] for i in range(count // 2)]
        elif self.mode == "elem":
            groups = [[i] for i in range(count)]
        for group in groups:
            mixed[group], shares[group] = self._draw(images[group], images[::-1][group], rng)
        labels = _mix_labels(labels, labels[::-1], shares)
        even = 0.5 if self.multilabel else 1 / labels.shape[1]
        smooth = (1 - self.label_smoothing) * labels + np.float32(self.label_smoothing * even)
        return mixed, np.where(labels < 0, labels, smooth)

    def _draw(self, images: np.ndarray, partners: np.ndarray, rng: Generator) -> tuple[np.ndarray, float]:
        """Return `images` mixed with `partners` and the share that they keep, all by one draw."""
        if rng.random() >= self.prob:
            return images, 1.0
        both = self.mixup_alpha > 0 and self.cutmix_alpha > 0
        if not self.cutmix_alpha or (both and rng.random() >= self.switch_prob):
            share = rng.beta(self.mixup_alpha, self.mixup_alpha)
            return _mix(images, partners, share), share
        share = rng.beta(self.cutmix_alpha, self.cutmix_alpha)
        if self.cutmix_minmax is None:
            mixed, kept = _paste(images, partners, _box(images.shape, share, rng))
            return mixed, kept if self.correct_lam else share
        return _paste(images, partners, [self._inner_span(side, rng) for side in images.shape[2:]])

    def _inner_span(self, length: int, rng: Generator) -> slice:
        low, high = (int(length * bound) for bound in self.cutmix_minmax or ())
        cut = rng.integers(low, high, endpoint=True)
        start = rng.integers(length - cut, endpoint=True)
        return slice(start, start + cut)


@BATCH_TRANSFORMS.register()
class OpSampler:
    """Apply one batch transform, chosen anew for each batch by the `prob` of each; with the rest, none.

    `operators`: name of a batch transform -> its parameters and its `prob`. The sum of `prob` is at most 1.
    """

    def __init__(self, **operators: Dict[str, Any]):
        self.ops: list[Any] = []
        self.probabilities: list[float] = []
        for name, given in operators.items():
            params = dict(given or {})
            probability = params.pop("prob", None)
            if isinstance(probability, bool) or not isinstance(probability, (int, float)):
                raise ConfigError(f"{name} needs its prob, a number from 0 to 1; for example prob: 0.5")
            self.ops.append(_build(name, params))
            self.probabilities.append(probability)
        total = sum(self.probabilities)
        if not self.ops or not (min(self.probabilities) >= 0 and total <= 1 + 1e-9):
            raise ConfigError(
                f"prob of the operators must be from 0 to 1 and add up to at most 1; got {total:g}"
            )

    def __call__(self, images: np.ndarray, labels: np.ndarray, rng: Generator) -> Mixed:
        chosen = np.searchsorted(np.cumsum(self.probabilities), rng.random(), side="right")
        return self.ops[chosen](images, labels, rng) if chosen < len(self.ops) else (images, labels)
