"""The transforms of `paddle.vision` that PaddleClas' YAML can name, without Paddle.

As there, a pair of sizes is [height, width], and arrays are resized by OpenCV, Pillow images by Pillow.
"""

from __future__ import annotations

from typing import List, Literal, Union

import numpy as np
from numpy.random import Generator
from PIL import Image

from ...config.types import PositiveFloat, Probability
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..image import Picture, Resizer, Size, WidthHeight, check_ranges, pair, size_of
from .core import NormalizeImage, RandFlipImage
from .crops import Ratio, check_holds, crop, random_box

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Layout = Literal["CHW", "HWC"]


class _OwnResizer:
    """OpenCV for arrays, Pillow for Pillow images."""

    def __init__(self, interpolation: str) -> None:
        self._array, self._pillow = Resizer(interpolation, "cv2"), Resizer(interpolation, "pil")

    def __call__(self, image: Picture, size: WidthHeight) -> Picture:
        return (self._pillow if isinstance(image, Image.Image) else self._array)(image, size, None)


def _width_height(size: Size) -> WidthHeight:
    height, width = pair(size)
    return width, height


@TRANSFORMS.register()
class ToTensor:
    """Return a float32 array in `data_format`: 8-bit values divided by 255, float values as they are."""

    def __init__(self, data_format: Layout = "CHW"):
        self.makes_chw = data_format == "CHW"

    def __call__(self, image: Picture, rng: Generator | None = None) -> np.ndarray:
        array = np.asarray(image)
        values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
        return values.transpose(2, 0, 1) if self.makes_chw else values


@TRANSFORMS.register()
class Normalize:
    """(image - mean) / std for each channel, in float32: `NormalizeImage` at scale 1.

    Args:
        mean, std: a number for all channels or one for each, in the image's values: 0..1 after ToTensor.
        data_format: CHW or HWC, of the image.
        to_rgb: reverse the order of the channels first.
    """

    def __init__(
        self,
        mean: Union[float, List[float]] = 0.0,
        std: Union[PositiveFloat, List[PositiveFloat]] = 1.0,
        data_format: Layout = "CHW",
        to_rgb: bool = False,
    ):
        means, stds = ([v] * 3 if isinstance(v, (int, float)) else v for v in (mean, std))
        self._normalize = NormalizeImage(1.0, means, stds, data_format.lower())
        self.axis, self.to_rgb = (0 if data_format == "CHW" else 2), to_rgb

    def __call__(self, image: Picture, rng: Generator | None = None) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[self.axis] != 3:
            raise ConfigError(
                f"Normalize.data_format does not fit an image of shape {array.shape}; CHW is for (3, H, W), "
                "as ToTensor makes it, HWC for (H, W, 3)"
            )
        return self._normalize(np.flip(array, self.axis) if self.to_rgb else array)


@TRANSFORMS.register()
class Resize:
    """Resize to `size` in pixels, [height, width], or the short side's (the other keeps the ratio, rounded down)."""

    def __init__(self, size: Size, interpolation: Filter = "bilinear"):
        self.size = size
        self._resize = _OwnResizer(interpolation)

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        width, height = size_of(image)
        if isinstance(self.size, int):
            short = min(width, height)
            size = (self.size * width // short, self.size * height // short)
        else:
            size = _width_height(self.size)
        return image if size == (width, height) else self._resize(image, size)


@TRANSFORMS.register()
class CenterCrop:
    """Cut out the centre of `size`, a side, or [height, width], in pixels. Raises DataError if it is smaller."""

    def __init__(self, size: Size):
        self.size = _width_height(size)

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        check_holds(image, self.size, "CenterCrop.size")
        left, top = (round((have - want) / 2) for have, want in zip(size_of(image), self.size))
        return crop(image, left, top, *self.size)


@TRANSFORMS.register()
class RandomHorizontalFlip(RandFlipImage):
    """Flip left-right with probability `prob`."""

    def __init__(self, prob: Probability = 0.5):
        super().__init__(1, prob)


@TRANSFORMS.register()
class RandomResizedCrop:
    """Cut out a random part and resize it, as `RandCropImage` does with another distribution.

    Args:
        size: side, or [height, width], of the result in pixels.
        scale: range of the area, as a share of the image's.
        ratio: range of width / height.
        interpolation: nearest, bilinear, bicubic or lanczos.
    """

    takes_size = resizes_part = True

    def __init__(
        self,
        size: Size,
        scale: Ratio = (0.08, 1.0),
        ratio: Ratio = (3 / 4, 4 / 3),
        interpolation: Filter = "bilinear",
    ):
        check_ranges(scale=scale, ratio=ratio)
        self.size, self.scale, self.ratio = _width_height(size), scale, ratio
        self._resize = _OwnResizer(interpolation)

    def __call__(self, image: Picture, rng: Generator, size: WidthHeight | None = None) -> Picture:
        part = crop(image, *random_box(*size_of(image), self.scale, self.ratio, rng))
        return self._resize(part, size or self.size)
