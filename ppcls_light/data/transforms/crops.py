"""Cropping transforms, and the random boxes that they draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from ...config.types import ByteValue, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ...errors import DataError
from ...registry import TRANSFORMS
from ..image import Picture, Resizer, Size, WidthHeight, as_given, check_ranges, pair, size_of

if TYPE_CHECKING:
    from numpy.random import Generator

Box = Tuple[int, int, int, int]  # left, top, width, height
Ratio = Tuple[PositiveFloat, PositiveFloat]
ATTEMPTS = 10


def crop(image: Picture, left: int, top: int, width: int, height: int) -> Picture:
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    return image[top : top + height, left : left + width]


def random_place(size: WidthHeight, whole: WidthHeight, rng: Generator) -> Box:
    """Draw a place for a part of `size` in an image of the size `whole`."""
    left, top = (int(rng.integers(side - part + 1)) for side, part in zip(whole, size))
    return left, top, *size


def random_ratio(bounds: Sequence[float], log: bool, rng: Generator) -> float:
    """Draw a ratio of two sides, uniformly or log-uniformly."""
    low, high = bounds
    return math.exp(rng.uniform(math.log(low), math.log(high))) if log else rng.uniform(low, high)


def random_sides(
    size: WidthHeight, area: Sequence[float], ratio: Sequence[float], log: bool, rng: Generator
) -> tuple[int, int]:
    """Draw two sides of a part of an image: its area, as a share of the image's, and their ratio, first to second.

    Szegedy et al., arXiv 1409.4842, section 6. The part may be larger than the image one way.
    """
    pixels = rng.uniform(*area) * size[0] * size[1]
    aspect = random_ratio(ratio, log, rng)
    return round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))


def random_box(width: int, height: int, scale: Ratio, ratio: Ratio, rng: Generator) -> Box:
    """Draw a part of an image of `width` x `height` pixels.

    The area is uniform in `scale`, shares of the image's, width / height log-uniform in `ratio`. After ten draws
    that do not fit it is the largest centre part whose ratio is in `ratio`.
    """
    for _ in range(ATTEMPTS):
        sides = random_sides((width, height), scale, ratio, True, rng)
        if 0 < sides[0] <= width and 0 < sides[1] <= height:
            return random_place(sides, (width, height), rng)
    box_width = min(width, round(height * ratio[1]))
    box_height = min(height, round(width / ratio[0]))
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


def check_holds(image: Picture, size: WidthHeight, key: str) -> None:
    """Raise DataError when `image` is smaller than a crop of `size` that `key` asks for."""
    width, height = size_of(image)
    if width < size[0] or height < size[1]:
        raise DataError(
            f"the image is {width}x{height} pixels (width x height), smaller than {key} "
            f"{size[0]}x{size[1]}; put a ResizeImage of at least that size before it"
        )


@TRANSFORMS.register()
class CropImage:
    """Cut out the centre of `size`, a side, or [width, height], in pixels."""

    def __init__(self, size: Size = 224):
        self.size = pair(size)

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        check_holds(image, self.size, "CropImage.size")
        left, top = ((side - part) // 2 for side, part in zip(size_of(image), self.size))
        return crop(image, left, top, *self.size)


@TRANSFORMS.register()
class RandCropImage:
    """Cut out a random part and resize it (Szegedy et al., arXiv 1409.4842, section 6).

    The aspect ratio is drawn first, then the area from `scale` cut down to what still fits, so that no
    draw is ever rejected.

    Args:
        size: side, or [width, height], of the result in pixels.
        scale: range of the area, as a share of the image's; default [0.08, 1].
        ratio: range of width / height; default [3/4, 4/3].
        interpolation, backend: as in `ResizeImage`.
        use_log_aspect: draw the ratio log-uniformly instead of uniformly.
    """

    takes_size = resizes_part = True

    def __init__(
        self,
        size: Size,
        scale: Optional[Ratio] = None,
        ratio: Optional[Ratio] = None,
        interpolation: Optional[str] = None,
        use_log_aspect: bool = False,
        backend: str = "cv2",
    ):
        self.size, self.use_log_aspect = pair(size), use_log_aspect
        self.scale, self.ratio = scale or (0.08, 1.0), ratio or (3 / 4, 4 / 3)
        check_ranges(scale=self.scale, ratio=self.ratio)
        self._resize = Resizer(interpolation, backend)

    def box(self, width: int, height: int, rng: Generator) -> Box:
        """Draw a part of an image of `width` x `height` pixels."""
        aspect = random_ratio(self.ratio, self.use_log_aspect, rng)
        largest = min(width / height / aspect, height / width * aspect)
        area = width * height * rng.uniform(min(self.scale[0], largest), min(self.scale[1], largest))
        crop_width = min(width, max(1, int(math.sqrt(area * aspect))))
        crop_height = min(height, max(1, int(math.sqrt(area / aspect))))
        return random_place((crop_width, crop_height), (width, height), rng)

    def __call__(self, image: Picture, rng: Generator, size: WidthHeight | None = None) -> Picture:
        return self.cut(image, self.box(*size_of(image), rng), size, rng)

    def cut(self, image: Picture, box: Box, size: WidthHeight | None, rng: Generator) -> Picture:
        """Return the part `box`, resized to `size` (None: the op's own)."""
        return self._resize(crop(image, *box), size or self.size, rng)


@TRANSFORMS.register(aliases=["RandCropImageV2"])
class RandomCropImage:
    """Cut out a part of exactly `size`, a side, or [width, height], in pixels, anywhere; nothing is resized.

    PaddleClas' `RandCropImageV2` is the same.
    """

    takes_size = True

    def __init__(self, size: Size):
        self.size = pair(size)

    def __call__(self, image: Picture, rng: Generator, size: WidthHeight | None = None) -> Picture:
        wanted = size or self.size
        check_holds(image, wanted, "RandomCropImage.size")
        return crop(image, *random_place(wanted, size_of(image), rng))


@TRANSFORMS.register()
class CropImageAtRatio:
    """Cut out the centre square whose side is size / (size + pad) of the short side, and resize it to `size` pixels.

    `pad`: pixels that would be cut off the short side, had it been resized to size + pad. `interpolation`: as in
    `ResizeImage`.
    """

    def __init__(self, size: PositiveInt, pad: NonNegativeInt, interpolation: str = "bilinear"):
        self.size, self.share = size, size / (size + pad)
        self._resize = Resizer(interpolation, "cv2")

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        width, height = size_of(image)
        side = max(1, int(self.share * min(width, height)))
        part = crop(image, (width - side) // 2, (height - side) // 2, side, side)
        return self._resize(part, (self.size, self.size), rng)


@TRANSFORMS.register()
@dataclass(eq=False)
class CropWithPadding:
    """Keep a random part of an image in its place and paint over the rest; the size stays."""

    prob: Probability = 1
    padding_num: ByteValue = 0  # value of the rest
    # `size`, `interpolation`: accepted from PaddleClas; nothing is resized.
    size: Size = 224
    scale: Ratio = (0.08, 1.0)  # range of the part's area, as a share of the image's
    ratio: Ratio = (3 / 4, 4 / 3)  # range of its width / height
    interpolation: Optional[str] = "bilinear"

    def __post_init__(self) -> None:
        check_ranges(scale=self.scale, ratio=self.ratio)

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.prob:
            return image
        array = np.asarray(image)
        box = random_box(*size_of(image), self.scale, self.ratio, rng)
        result = np.full_like(array, self.padding_num)
        crop(result, *box)[...] = crop(array, *box)
        return as_given(image, result)
