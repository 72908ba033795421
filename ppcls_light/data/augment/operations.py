"""Image operations of the augmentation policies, on Pillow images, and the mapping of levels to strengths.

AutoAugment (Cubuk et al., arXiv 1805.09501, table 6) defined them; RandAugment, AugMix and their variants use
the same ones with other scales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC


class _Drawing(NamedTuple):
    """Means of an operation: colour of the parts left empty, resampling filter, random numbers."""

    fill: tuple[int, ...]
    resample: Image.Resampling
    rng: Generator


def _affine(image: Image.Image, matrix: tuple[float, ...], how: _Drawing) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how.resample, fillcolor=how.fill)


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the `bits` highest bits of each value, 0..8; Pillow's own refuses 0, which the policies use."""
    mask = 256 - 2 ** (8 - bits)
    return image.point([value & mask for value in range(256)] * len(image.getbands()))


def _solarize_add(image: Image.Image, amount: int) -> Image.Image:
    """Add `amount` to the values below 128."""
    table = [min(255, value + amount) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _cutout(image: Image.Image, half: float, how: _Drawing) -> Image.Image:
    """Fill a square of 2 * `half` pixels, cut off at the edges, whose centre is anywhere in the image."""
    x, y = how.rng.integers(image.width + 1), how.rng.integers(image.height + 1)
    box = (max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half))
    result = image.copy()
    result.paste(how.fill, tuple(map(int, box)))
    return result


# name -> f(image, amount, how). `amount`: shear a factor, translation a share of the side (or
# pixels), rotation degrees, posterize the bits kept, solarize the threshold, enhancements the factor
# (1 = unchanged), desaturate the share of grey, cutout half the side and blur the radius in pixels.
_OPERATIONS: dict[str, Callable[[Image.Image, Any, _Drawing], Image.Image]] = {
    "AutoContrast": lambda image, amount, how: ImageOps.autocontrast(image),
    "Equalize": lambda image, amount, how: ImageOps.equalize(image),
    "Invert": lambda image, amount, how: ImageOps.invert(image),
    "Posterize": lambda image, amount, how: _posterize(image, amount),
    "Solarize": lambda image, amount, how: ImageOps.solarize(image, amount),
    "SolarizeAdd": lambda image, amount, how: _solarize_add(image, amount),
    "Color": lambda image, amount, how: ImageEnhance.Color(image).enhance(amount),
    "Contrast": lambda image, amount, how: ImageEnhance.Contrast(image).enhance(amount),
    "Brightness": lambda image, amount, how: ImageEnhance.Brightness(image).enhance(amount),
    "Sharpness": lambda image, amount, how: ImageEnhance.Sharpness(image).enhance(amount),
    "Desaturate": lambda image, amount, how: ImageEnhance.Color(image).enhance(1 - amount),
    "GaussianBlur": lambda image, amount, how: _blur(image, amount),
    "GaussianBlurRand": lambda image, amount, how: _blur(image, how.rng.uniform(0.1, amount)),
    "Cutout": _cutout,
    "Rotate": lambda image, amount, how: image.rotate(amount, how.resample, fillcolor=how.fill),
    "ShearX": lambda image, amount, how: _affine(image, (1, amount, 0, 0, 1, 0), how),
    "ShearY": lambda image, amount, how: _affine(image, (1, 0, 0, amount, 1, 0), how),
    "TranslateX": lambda image, amount, how: _affine(image, (1, 0, amount * image.width, 0, 1, 0), how),
    "TranslateY": lambda image, amount, how: _affine(image, (1, 0, 0, 0, 1, amount * image.height), how),
    "TranslateXPixels": lambda image, amount, how: _affine(image, (1, 0, amount, 0, 1, 0), how),
    "TranslateYPixels": lambda image, amount, how: _affine(image, (1, 0, 0, 0, 1, amount), how),
}

ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")


class Scale(NamedTuple):
    """Amounts of levels: from `low` at level 0 to `high` at the top level.

    `signed`: the distance from `low` goes to either side at random. `whole`: `int` or `round`, where only whole
    steps from `low` count. `within`: bounds of the amount, for levels above the top.
    """

    low: float
    high: float
    signed: bool = False
    whole: Callable[[float], int] | None = None
    within: tuple[float, float] = (-math.inf, math.inf)

    def amount(self, share: float, rng: Generator) -> float:
        """Return the amount for `share` of the top level."""
        distance = (self.high - self.low) * share
        if self.signed and rng.random() < 0.5:
            distance = -distance
        amount = self.low + (self.whole(distance) if self.whole else distance)
        return min(self.within[1], max(self.within[0], amount))


@dataclass(frozen=True)
class Operations:
    """Operations at levels."""

    scales: Mapping[str, Scale | None]  # name -> `Scale`, or None for an operation that has no strength
    top_level: float  # the level that a scale's `high` belongs to
    fill: Sequence[int]  # RGB of the parts that an operation leaves empty
    # Resampling filters of geometric operations, one of which is drawn for each.
    filters: Sequence[Image.Resampling] = (NEAREST,)
    shear_filters: Sequence[Image.Resampling] = ()  # those of shears, where they differ

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.scales)

    def draw(self, rng: Generator) -> str:
        """Draw the name of an operation, uniformly at random."""
        return self.names[rng.integers(len(self.names))]

    def apply(self, image: Image.Image, name: str, level: float, rng: Generator) -> Image.Image:
        """Return the Pillow `image` after the operation called `name` at `level`."""
        scale = self.scales[name]
        amount = None if scale is None else scale.amount(level / self.top_level, rng)
        filters = self.shear_filters if self.shear_filters and name.startswith("Shear") else self.filters
        resample = filters[0 if len(filters) == 1 else int(rng.integers(len(filters)))]
        return _OPERATIONS[name](image, amount, _Drawing(tuple(self.fill), resample, rng))


WITHOUT_STRENGTH = dict.fromkeys(("AutoContrast", "Equalize", "Invert"))
SHEARS = dict.fromkeys(("ShearX", "ShearY"), Scale(0, 0.3, signed=True))
TRANSLATIONS = ("TranslateX", "TranslateY")

# arXiv 1805.09501, table 6, levels 0..9: enhancements are 1 +- up to 0.9. As in PaddleClas, rotation is to the
# left only.
PAPER_SCALES = {
    **SHEARS,
    **dict.fromkeys(TRANSLATIONS, Scale(0, 150 / 331, signed=True)),
    "Rotate": Scale(0, 30),
    **dict.fromkeys(ENHANCEMENTS, Scale(1, 1.9, signed=True, within=(0, math.inf))),
    "Posterize": Scale(8, 4, whole=round),
    "Solarize": Scale(256, 0),
    **WITHOUT_STRENGTH,
    "Cutout": Scale(0, 20, whole=round),
}


def paper_operations(fill: Sequence[int]) -> Operations:
    return Operations(PAPER_SCALES, 9, fill, (NEAREST,), (BICUBIC,))
