"""Crops beyond `RandCropImage` and `CropImage`."""

import math
from typing import Optional, Tuple

import numpy as np

from ...config.types import ByteValue, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ...registry import TRANSFORMS
from ..image import Resizer, as_given, check_holds, crop, pair, size_of, to_array
from .core import Size, check_ranges

Ratio = Tuple[PositiveFloat, PositiveFloat]
ATTEMPTS = 10


def random_box(width, height, scale, ratio, rng):
    """Draw (left, top, width, height) of a part of an image of `width` x `height` pixels.

    The area is uniform in `scale`, shares of the image's, width / height log-uniform in `ratio` (Szegedy et
    al., arXiv 1409.4842, section 6). After ten draws that do not fit it is the largest centre part whose
    ratio is in `ratio`.
    """
    for _ in range(ATTEMPTS):
        area = rng.uniform(*scale) * width * height
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            left, top = rng.integers(width - box_width + 1), rng.integers(height - box_height + 1)
            return int(left), int(top), box_width, box_height
    box_width = min(width, round(height * ratio[1]))
    box_height = min(height, round(width / ratio[0]))
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


@TRANSFORMS.register(aliases=["RandCropImageV2"])
class RandomCropImage:
    """Cut out a part of exactly `size`, without resizing, anywhere in an array (H, W, C) or a Pillow image.

    Args:
        size: side, or [width, height], in pixels.

    Calling raises DataError when the image is smaller than that.
    """

    takes_size = True

    def __init__(self, size: Size):
        self.size = pair(size)

    def __call__(self, image, rng, size=None):
        wanted, (width, height) = size or self.size, size_of(image)
        check_holds(image, wanted, "RandomCropImage.size")
        left, top = rng.integers(width - wanted[0] + 1), rng.integers(height - wanted[1] + 1)
        return crop(image, int(left), int(top), *wanted)


@TRANSFORMS.register()
class CropImageAtRatio:
    """Cut out the centre square whose side is size / (size + pad) of the short side, and resize it.

    Args:
        size: side of the result in pixels.
        pad: pixels that would be cut off the short side, had it been resized to size + pad.
        interpolation: as in `ResizeImage`.
    """

    def __init__(self, size: PositiveInt, pad: NonNegativeInt, interpolation: str = "bilinear"):
        self.size, self.share = size, size / (size + pad)
        self._resize = Resizer(interpolation, "cv2")

    def __call__(self, image, rng=None):
        width, height = size_of(image)
        side = max(1, int(self.share * min(width, height)))
        part = crop(image, (width - side) // 2, (height - side) // 2, side, side)
        return self._resize(part, (self.size, self.size), rng)


@TRANSFORMS.register()
class CropWithPadding:
    """Keep a random part of an image in its place and paint over the rest; the size stays.

    Takes and returns an array (H, W, C) or a Pillow image.

    Args:
        prob: probability.
        padding_num: value of the rest.
        size, interpolation: accepted from PaddleClas; nothing is resized.
        scale: range of the part's area, as a share of the image's.
        ratio: range of its width / height.
    """

    def __init__(
        self,
        prob: Probability = 1,
        padding_num: ByteValue = 0,
        size: Size = 224,
        scale: Ratio = (0.08, 1.0),
        ratio: Ratio = (3 / 4, 4 / 3),
        interpolation: Optional[str] = "bilinear",
    ):
        check_ranges(scale=scale, ratio=ratio)
        self.prob, self.padding_num, self.scale, self.ratio = prob, padding_num, scale, ratio

    def __call__(self, image, rng):
        if rng.random() >= self.prob:
            return image
        array = to_array(image)
        left, top, width, height = random_box(*size_of(image), self.scale, self.ratio, rng)
        result = np.full_like(array, self.padding_num)
        result[top : top + height, left : left + width] = array[top : top + height, left : left + width]
        return as_given(image, result)
