"""Rotation and padding transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, Tuple, Union

import numpy as np
from numpy.random import Generator
from PIL import Image

from ...config.types import ByteValue, NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from ...errors import ConfigError, DataError
from ...registry import TRANSFORMS
from ..image import Picture, Rgb, Size, as_given, check_ranges, pair, require_possible, rgb, size_of, to_pil

Fill = Union[ByteValue, Rgb]


@TRANSFORMS.register()
class RandomRotation:
    """Turn an 8-bit image by a random angle, uniform in a range. Parameters as of `paddle.vision`.

    Args:
        degrees: x for the range [-x, x], or [low, high]; counter-clockwise.
        interpolation: nearest, bilinear or bicubic.
        expand: enlarge the image so that all of the turned one is in it; only about its own centre.
        center: [x, y] in pixels; default the image's centre.
        fill: colour of the corners, one value or RGB.
    """

    def __init__(
        self,
        degrees: Union[NonNegativeFloat, Tuple[float, float]],
        prob: Probability = 0.5,
        interpolation: Literal["nearest", "bilinear", "bicubic"] = "nearest",
        expand: bool = False,
        center: Optional[Tuple[float, float]] = None,
        fill: Fill = 0,
    ):
        self.degrees = (-degrees, degrees) if isinstance(degrees, (int, float)) else degrees
        check_ranges(degrees=self.degrees)
        if expand and center is not None:
            raise ConfigError("expand makes room about the image's own centre; leave center out")
        self.prob, self.expand, self.center, self.fill = prob, expand, center, rgb(fill)
        self._resample = Image.Resampling[interpolation.upper()]

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.prob:
            return image
        angle, picture = rng.uniform(*self.degrees), to_pil(image)
        turned = picture.rotate(angle, self._resample, self.expand, self.center, fillcolor=self.fill)
        return as_given(image, turned)


@TRANSFORMS.register()
class RandomRot90:
    """Turn by 0, 90, 180 or 270 degrees, counter-clockwise.

    As the label `random_rot90_orientation` of a `CustomLabelDataset`: the number of quarter turns, 0 to 3.
    """

    label_key, label_count = "random_rot90_orientation", 4

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        return self.labelled(image, rng)[0]

    def labelled(self, image: Picture, rng: Generator) -> tuple[Picture, int]:
        turns = int(rng.integers(4))
        return as_given(image, np.ascontiguousarray(np.rot90(np.asarray(image), turns))), turns


@TRANSFORMS.register()
@dataclass(eq=False)
class Pad:
    """Add a border."""

    padding: NonNegativeInt  # width of the border in pixels
    fill: Fill = 0  # its colour, one value or RGB, where padding_mode is constant
    # "edge" repeats the outermost pixels; "reflect" and "symmetric" mirror the image, without and with them.
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
    backend: Literal["pil", "cv2"] = "pil"  # accepted from PaddleClas; both pad alike

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        array, p = np.asarray(image), self.padding
        require_possible(image, [side + 2 * p for side in size_of(image)], "padding")
        if self.padding_mode != "constant":
            return as_given(image, np.pad(array, ((p, p), (p, p), (0, 0)), mode=self.padding_mode))
        height, width = array.shape[:2]
        padded = np.full((height + 2 * p, width + 2 * p, array.shape[2]), rgb(self.fill), array.dtype)
        padded[p : p + height, p : p + width] = array
        return as_given(image, padded)


@TRANSFORMS.register()
@dataclass(eq=False)
class Padv2:
    """Put an image on a canvas of a given size, or of the next multiples of a number; float32, as in PaddleClas.

    Calling raises DataError when it does not fit.
    """

    size: Optional[Size] = None  # side, or [width, height], in pixels; null for multiples of size_divisor
    size_divisor: PositiveInt = 32  # the sides become the next multiples of this
    # Place of the image: 0 top left, 1 centre, 2 bottom right, -1 at offsets.
    pad_mode: Literal[-1, 0, 1, 2] = 0
    # [x, y] of its top left corner for pad_mode -1.
    offsets: Optional[Tuple[NonNegativeInt, NonNegativeInt]] = None
    # Colour of the canvas, one value or RGB.
    fill_value: Union[float, Tuple[float, float, float]] = (127.5, 127.5, 127.5)

    def __post_init__(self) -> None:
        if (self.pad_mode == -1) != (self.offsets is not None):
            raise ConfigError("offsets and pad_mode: -1 belong together; for example offsets: [16, 16]")

    def __call__(self, image: Picture, rng: Generator | None = None) -> np.ndarray:
        size, step = size_of(image), self.size_divisor
        canvas = pair(self.size or [-(-side // step) * step for side in size])
        left, top = (self._start(axis, canvas[axis] - size[axis]) for axis in range(2))
        if left + size[0] > canvas[0] or top + size[1] > canvas[1] or min(left, top) < 0:
            raise DataError(
                f"the image is {size[0]}x{size[1]} pixels (width x height) and does not fit on Padv2's canvas "
                f"of {canvas[0]}x{canvas[1]} at {left},{top}; put a ResizeImage before it or raise size"
            )
        require_possible(image, canvas, "padding")
        padded = np.full((canvas[1], canvas[0], 3), rgb(self.fill_value), np.float32)
        padded[top : top + size[1], left : left + size[0]] = np.asarray(image)
        return padded

    def _start(self, axis: int, room: int) -> int:
        return self.offsets[axis] if self.offsets else {0: 0, 1: room // 2, 2: room}[self.pad_mode]
