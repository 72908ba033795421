"""Colour and sharpness augmentations: jitter, greyscale, PCA lighting, resampling and blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Tuple, Union

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance

from ...config.types import NonNegativeFloat, NonNegativeInt, Probability, Range
from ...registry import TRANSFORMS
from ..decode import check_backend
from ..image import Picture, as_given, check_ranges, to_pil
from ..opencv import opencv

Jitter = Union[NonNegativeFloat, Tuple[NonNegativeFloat, NonNegativeFloat]]
HueShift = Annotated[float, Range(-0.5, 0.5)]


@TRANSFORMS.register()
class ColorJitter:
    """Change brightness, contrast, saturation and hue of an 8-bit image, in random order, each by its own amount.

    Parameters as of `paddle.vision`.

    Args:
        prob: probability of a change; PaddleClas' default 2 means always, as 1 does.
        brightness, contrast, saturation: x draws the factor from [max(0, 1 - x), 1 + x]; or its range.
        hue: x, up to 0.5, turns the hue by a share of the circle from [-x, x]; or its range.
    """

    def __init__(
        self,
        prob: NonNegativeFloat = 2,
        brightness: Jitter = 0,
        contrast: Jitter = 0,
        saturation: Jitter = 0,
        hue: Union[Annotated[float, Range(0, 0.5)], Tuple[HueShift, HueShift]] = 0,
    ):
        self.prob = prob
        spans = (
            (ImageEnhance.Brightness, _span("brightness", brightness, 1)),
            (ImageEnhance.Contrast, _span("contrast", contrast, 1)),
            (ImageEnhance.Color, _span("saturation", saturation, 1)),
            (_Hue, _span("hue", hue, 0)),
        )
        self.changes = [(enhance, span) for enhance, span in spans if span is not None]

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if not self.changes or rng.random() >= self.prob:
            return image
        result = to_pil(image)
        for index in rng.permutation(len(self.changes)):
            enhance, span = self.changes[index]
            result = enhance(result).enhance(rng.uniform(*span))
        return as_given(image, result)


def _span(name: str, amount: Any, unchanged: int) -> tuple[float, float] | None:
    """Return the range to draw from, or None where nothing would change."""
    if isinstance(amount, (int, float)):
        return (max(0, unchanged - amount) if unchanged else -amount, unchanged + amount) if amount else None
    check_ranges(**{name: amount})
    low, high = amount
    return low, high


class _Hue:
    """Turn of the hue, in the form of `ImageEnhance`'s classes."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    def enhance(self, share: float) -> Image.Image:
        """Return the image with its hue turned by `share` of the circle, -0.5 to 0.5."""
        hue, saturation, value = self._image.convert("HSV").split()
        hue = hue.point([(level + int(share * 255)) % 256 for level in range(256)])
        return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@TRANSFORMS.register()
@dataclass(eq=False)
class RandomGrayscale:
    """Take the colour out of an 8-bit image with probability `p`: R = G = B (ITU-R 601-2 luma)."""

    p: Probability = 0.1

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.p:
            return image
        return as_given(image, to_pil(image).convert("L").convert("RGB"))


@TRANSFORMS.register()
class PCALighting:
    """Add a random multiple of the principal components of ImageNet's colours to all pixels.

    Krizhevsky et al., NIPS 2012, section 4.1: multiples from N(0, 0.1) times the eigenvalue, once per image.
    The components are of values in 0..1: uint8 images are changed 255 times as much and stay uint8, float
    images (before the mean is subtracted) as they are. (H, W, 3) in RGB order.
    """

    _deviation = 0.1
    _eigenvalues = np.array([0.2175, 0.0188, 0.0045])
    _eigenvectors = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        array = np.asarray(image)
        shift = self._eigenvectors @ (rng.normal(0, self._deviation, 3) * self._eigenvalues)
        if array.dtype != np.uint8:
            return array + shift.astype(array.dtype)
        table = np.clip(np.round(np.arange(256) + 255 * shift[:, None]), 0, 255).astype(int)
        return as_given(image, to_pil(image).point(table.ravel().tolist()))


_FILTERS = ("INTER_NEAREST", "INTER_LINEAR", "INTER_AREA", "INTER_CUBIC", "INTER_LANCZOS4")


@TRANSFORMS.register()
@dataclass(eq=False)
class RandomInterpolationAugment:
    """Resample to 0.2 to 1 times the size and back with probability `prob`, by two random ones of OpenCV's filters."""

    prob: Probability

    def __post_init__(self) -> None:
        check_backend("cv2")

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.prob:
            return image
        cv2, array, share = opencv(), np.asarray(image), rng.uniform(0.2, 1)
        size = array.shape[1], array.shape[0]
        small = tuple(max(1, int(share * side)) for side in size)
        first, second = (getattr(cv2, _FILTERS[index]) for index in rng.integers(len(_FILTERS), size=2))
        return as_given(
            image, cv2.resize(cv2.resize(array, small, interpolation=first), size, interpolation=second)
        )


@TRANSFORMS.register()
@dataclass(eq=False)
class BlurImage:
    """Blur with a Gaussian or along a line, half of the times each.

    As the label `blur_image` of a `CustomLabelDataset`: 0 sharp as the file is, 1 blurred.
    """

    ratio: Probability = 0.5  # probability of blurring at all
    # The kernels' sides are odd numbers of pixels from 5 to below their `max_ksize`.
    motion_max_ksize: Annotated[int, Range(6)] = 12
    # Degrees by which the line may turn from the diagonal, to either side.
    motion_max_angle: NonNegativeInt = 45
    gaussian_max_ksize: Annotated[int, Range(6)] = 12

    label_key, label_count = "blur_image", 2

    def __post_init__(self) -> None:
        check_backend("cv2")

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        return self.labelled(image, rng)[0]

    def labelled(self, image: Picture, rng: Generator) -> tuple[Picture, int]:
        if rng.random() >= self.ratio:
            return image, 0
        cv2, array = opencv(), np.asarray(image)
        if rng.random() < 0.5:
            size = tuple(_odd(self.gaussian_max_ksize, rng) for _ in range(2))
            return as_given(image, cv2.GaussianBlur(array, size, 0)), 1
        return as_given(image, cv2.filter2D(array, -1, self.motion_kernel(rng))), 1

    def motion_kernel(self, rng: Generator) -> np.ndarray:
        """Draw a kernel (K, K) with sum 1: a line through its centre."""
        size, angle = _odd(self.motion_max_ksize, rng), rng.uniform(-1, 1) * self.motion_max_angle
        cv2 = opencv()
        turn = cv2.getRotationMatrix2D(((size - 1) / 2,) * 2, angle, 1)
        kernel = cv2.warpAffine(np.eye(size), turn, (size, size))
        return kernel / kernel.sum()


def _odd(end: int, rng: Generator) -> int:
    choices = range(5, end, 2)
    return choices[rng.integers(len(choices))]
