"""Erasing augmentations: RandomErasing, Cutout, Hide-and-Seek and GridMask.

All take arrays (H, W, C) or (C, H, W), uint8 or float, or Pillow images, and return the same kind. The usual
place is after NormalizeImage, where a value of 0 is the mean colour of the training images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Tuple, Union

import numpy as np
from numpy.random import Generator

from ...config.types import PositiveInt, Probability, Range
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..image import Picture, as_given, rgb
from .crops import Box, crop, random_place, random_sides

Color = Union[float, Tuple[float, float, float]]  # one value, or RGB


def _writable(image: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy of `image` as an array, and a view of the copy as (H, W, C)."""
    array = np.array(image)
    return array, array if array.shape[-1] in (3, 4) else np.moveaxis(array, 0, -1)


def _noise(like: np.ndarray, shape: Any, rng: Generator) -> np.ndarray:
    """Draw colours as random as the values of `like`: 0..255 where it is uint8, else N(0, 1)."""
    return rng.integers(256, size=shape) if like.dtype == np.uint8 else rng.normal(size=shape)


def _paint(area: np.ndarray, colour: Any) -> None:
    """Set RGB of `area` (H, W, C), a view, to `colour`, which is cut off at the ends of uint8."""
    area[:, :, :3] = np.clip(np.round(colour), 0, 255) if area.dtype == np.uint8 else colour


@TRANSFORMS.register()
@dataclass(eq=False)
class RandomErasing:
    """Random Erasing (Zhong et al., arXiv 1708.04896, algorithm 1): replace a rectangle."""

    EPSILON: Probability = 0.5  # probability of erasing
    # Range of the rectangle's area, as shares of the image's.
    sl: Probability = 0.02
    sh: Probability = 0.4
    # The rectangle's height / width is drawn from r1 to 1 / r1.
    r1: Annotated[float, Range(0, 1, low_open=True)] = 0.3
    # Colour for mode const, one value or RGB, in the image's own values; the default 0 is the mean of a
    # normalised one.
    mean: Color = (0.0, 0.0, 0.0)
    attempt: PositiveInt = 100  # draws after which an image whose rectangles never fit stays as it is
    use_log_aspect: bool = False  # draw the ratio log-uniformly instead of uniformly
    # "const"; "rand", one random colour; or "pixel", one for every pixel. Random colours are normal with
    # deviation 1 on a float image, which should be normalised, and 0..255 on uint8.
    mode: Literal["const", "rand", "pixel"] = "const"

    def __post_init__(self) -> None:
        if self.sl > self.sh:
            raise ConfigError(f"sl and sh are a range of areas; got {self.sl:g} to {self.sh:g}")

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.EPSILON:
            return image
        array, view = _writable(image)
        box = self.box(view.shape[1], view.shape[0], rng)
        if box is None:
            return image
        area = crop(view, *box)
        if self.mode == "const":
            _paint(area, rgb(self.mean))
        else:
            _paint(area, _noise(array, (*area.shape[:2], 3) if self.mode == "pixel" else 3, rng))
        return as_given(image, array)

    def box(self, width: int, height: int, rng: Generator) -> Box | None:
        """Draw a part of an image of `width` x `height` pixels; None when nothing fits."""
        ratio = (self.r1, 1 / self.r1)
        for _ in range(self.attempt):
            tall, wide = random_sides((width, height), (self.sl, self.sh), ratio, self.use_log_aspect, rng)
            if wide < width and tall < height:
                return random_place((wide, tall), (width, height), rng)
        return None


@TRANSFORMS.register()
@dataclass(eq=False)
class Cutout:
    """Cutout (DeVries and Taylor, arXiv 1708.04552): fill squares; their parts outside of the image are cut off."""

    n_holes: PositiveInt = 1  # number of squares
    length: PositiveInt = 112  # side in pixels, an even number counts
    # Colour, one value or RGB, in the image's own values; none or null: a random one, as in `RandomErasing`.
    fill_value: Union[Color, Literal["none"], None] = (0.0, 0.0, 0.0)

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        array, view = _writable(image)
        half, fill = self.length // 2, self.fill_value
        for _ in range(self.n_holes):
            y, x = rng.integers(view.shape[0]), rng.integers(view.shape[1])
            colour = _noise(array, 3, rng) if fill is None or fill == "none" else rgb(fill)
            _paint(view[max(0, y - half) : y + half, max(0, x - half) : x + half], colour)
        return as_given(image, array)


@TRANSFORMS.register()
class HideAndSeek:
    """Hide-and-Seek (Singh et al., arXiv 1811.02545): set each cell of a grid to 0 with probability 1/2.

    The cells' side is drawn from 16, 32, 44 and 56 pixels and, as a fifth choice, no grid at all.
    """

    sides = (0, 16, 32, 44, 56)

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        side = self.sides[rng.integers(len(self.sides))]
        if side == 0:
            return image
        array, view = _writable(image)
        height, width = view.shape[:2]
        hidden = rng.random((-(-height // side), -(-width // side))) < 0.5
        view[hidden.repeat(side, axis=0)[:height].repeat(side, axis=1)[:, :width]] = 0
        return as_given(image, array)


@TRANSFORMS.register()
@dataclass(eq=False)
class GridMask:
    """GridMask (Chen et al., arXiv 2001.04086): set a regular pattern of bands, or of squares, to 0."""

    # The pattern's period in pixels is drawn from d1 to below d2.
    d1: PositiveInt = 96
    d2: PositiveInt = 224
    rotate: PositiveInt = 1  # the pattern is turned by a whole number of degrees from 0 to below this
    ratio: Probability = 0.5  # width of a band, as a share of the period
    # 0 hides bands in both directions and leaves squares; 1 hides the squares and leaves the bands.
    mode: Literal[0, 1] = 0
    prob: Probability = 1.0  # the same in all epochs, where the paper lets it rise

    def __post_init__(self) -> None:
        if self.d1 >= self.d2:
            raise ConfigError(f"the period is drawn from d1 to below d2; got {self.d1} to {self.d2}")

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.prob:
            return image
        array, view = _writable(image)
        view[self.hidden(view.shape[0], view.shape[1], rng)] = 0
        return as_given(image, array)

    def hidden(self, height: int, width: int, rng: Generator) -> np.ndarray:
        """Draw the pixels to hide, as bools (height, width)."""
        period = int(rng.integers(self.d1, self.d2))
        band = int(period * self.ratio + 0.5)
        start = rng.integers(period, size=2)
        angle = math.radians(int(rng.integers(self.rotate)))
        y, x = np.ogrid[:height, :width] if angle == 0 else _turned(height, width, angle)
        bands = ((y - start[0]) % period < band) | ((x - start[1]) % period < band)
        return bands if self.mode == 0 else ~bands


def _turned(height: int, width: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates (y, x) of pixels after a turn about the centre, as arrays (height, width)."""
    y, x = np.ogrid[:height, :width]
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.floor(cosine * y + sine * x), np.floor(cosine * x - sine * y)
