"""Learned and random augmentation policies on Pillow's operations.

AutoAugment: Cubuk et al., arXiv 1805.09501. RandAugment: Cubuk et al., arXiv 1909.13719, in the form and
with the option strings that timm (Wightman) gave it and PaddleClas uses.
"""

import re
from typing import NamedTuple, Optional, Tuple, Union

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ..config.types import NonNegativeInt, PositiveInt, Probability
from ..errors import ConfigError
from ..registry import TRANSFORMS
from .transforms import IMAGENET_MEAN, to_array, to_pil

_NEAREST, _BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR
_BICUBIC, _LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


def _affine(image, a, b, c, d, e, f, fill, resample):
    return image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), resample, fillcolor=fill)


def _posterize(image, bits):
    """Keep the `bits` highest bits of each value, 0..8; Pillow's own refuses 0, which the policies use."""
    mask = 256 - 2 ** (8 - bits)
    return image.point([value & mask for value in range(256)] * len(image.getbands()))


def _solarize_add(image, amount):
    """Add `amount` to the values below 128."""
    table = [min(255, value + amount) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


# name -> f(image, amount, fill colour, resampling filter). What `amount` means: shear a factor, translation a
# share of the side, rotation degrees, posterize the bits kept, solarize the threshold, enhancements the
# factor (1 = unchanged).
_OPERATIONS = {
    "AutoContrast": lambda image, amount, fill, resample: ImageOps.autocontrast(image),
    "Equalize": lambda image, amount, fill, resample: ImageOps.equalize(image),
    "Invert": lambda image, amount, fill, resample: ImageOps.invert(image),
    "Posterize": lambda image, amount, fill, resample: _posterize(image, amount),
    "Solarize": lambda image, amount, fill, resample: ImageOps.solarize(image, amount),
    "SolarizeAdd": lambda image, amount, fill, resample: _solarize_add(image, amount),
    "Color": lambda image, amount, fill, resample: ImageEnhance.Color(image).enhance(amount),
    "Contrast": lambda image, amount, fill, resample: ImageEnhance.Contrast(image).enhance(amount),
    "Brightness": lambda image, amount, fill, resample: ImageEnhance.Brightness(image).enhance(amount),
    "Sharpness": lambda image, amount, fill, resample: ImageEnhance.Sharpness(image).enhance(amount),
    "Rotate": lambda image, amount, fill, resample: image.rotate(amount, resample, fillcolor=fill),
    "ShearX": lambda image, amount, fill, resample: _affine(image, 1, amount, 0, 0, 1, 0, fill, resample),
    "ShearY": lambda image, amount, fill, resample: _affine(image, 1, 0, 0, amount, 1, 0, fill, resample),
    "TranslateX": lambda image, amount, fill, resample: _affine(
        image, 1, 0, amount * image.width, 0, 1, 0, fill, resample
    ),
    "TranslateY": lambda image, amount, fill, resample: _affine(
        image, 1, 0, 0, 0, 1, amount * image.height, fill, resample
    ),
}


class _Scale(NamedTuple):
    """How a level becomes an amount: from `low` at level 0 to `high` at the top level.

    `signed`: the distance from `low` goes to either side at random. `whole`: only whole steps from `low`.
    """

    low: float
    high: float
    signed: bool = False
    whole: bool = False

    def amount(self, share, rng):
        """Return the amount for `share` (0..1) of the top level."""
        distance = (self.high - self.low) * share
        if self.signed and rng.random() < 0.5:
            distance = -distance
        return self.low + (int(distance) if self.whole else distance)


# arXiv 1805.09501, table 6, levels 0..9: enhancements are 1 +- up to 0.9. As in PaddleClas, rotation is to the
# left only.
_PAPER_SCALES = {
    "ShearX": _Scale(0, 0.3, signed=True),
    "Rotate": _Scale(0, 30),
    "Color": _Scale(1, 1.9, signed=True),
    "Contrast": _Scale(1, 1.9, signed=True),
    "Sharpness": _Scale(1, 1.9, signed=True),
    "Solarize": _Scale(256, 0),
    "Posterize": _Scale(8, 4),
}
_PAPER_TOP_LEVEL = 9

# arXiv 1805.09501, table 9: the 25 sub-policies for ImageNet, each two of (operation, probability, level).
_IMAGENET_POLICY = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


@TRANSFORMS.register()
class AutoAugment:
    """The ImageNet policy of AutoAugment: one of 25 pairs of operations, each with its own probability.

    Takes and returns a uint8 array (H, W, 3) or a Pillow image of any size.

    Args:
        fillcolor: RGB of the corners that rotation and shear leave empty.
    """

    def __init__(self, fillcolor: Tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt] = (128, 128, 128)):
        self.fillcolor = tuple(fillcolor)

    def __call__(self, image, rng):
        result = to_pil(image)
        for name, probability, level in _IMAGENET_POLICY[rng.integers(len(_IMAGENET_POLICY))]:
            if rng.random() < probability:
                result = self.apply(result, name, level, rng)
        return result if isinstance(image, Image.Image) else to_array(result)

    def apply(self, image, name, level, rng):
        """Return the Pillow `image` after operation `name` at `level` 0..9."""
        scale = _PAPER_SCALES.get(name)
        amount = scale and scale.amount(level / _PAPER_TOP_LEVEL, rng)
        if name == "Posterize":
            amount = round(amount)
        resample = _BICUBIC if name == "ShearX" else _NEAREST
        return _OPERATIONS[name](image, amount, self.fillcolor, resample)


_GEOMETRIC_SCALES = {
    "Rotate": _Scale(0, 30, signed=True),
    "ShearX": _Scale(0, 0.3, signed=True),
    "ShearY": _Scale(0, 0.3, signed=True),
    "TranslateX": _Scale(0, 0.45, signed=True),
    "TranslateY": _Scale(0, 0.45, signed=True),
    "SolarizeAdd": _Scale(0, 110, whole=True),
}
# timm's two sets of scales: as first published (posterize and solarize act hardest at level 0), and "inc",
# where every operation acts harder as the level rises.
_RAND_SCALES = {
    False: {
        **_GEOMETRIC_SCALES,
        "Posterize": _Scale(0, 4, whole=True),
        "Solarize": _Scale(0, 256, whole=True),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), _Scale(0.1, 1.9)),
    },
    True: {
        **_GEOMETRIC_SCALES,
        "Posterize": _Scale(4, 0, whole=True),
        "Solarize": _Scale(256, 0, whole=True),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), _Scale(1, 1.9, signed=True)),
    },
}
_RAND_TOP_LEVEL = 10

# The operations a draw chooses from, with timm's weights "w0".
_RAND_WEIGHTS = {
    "AutoContrast": 0.025,
    "Equalize": 0.005,
    "Invert": 0,
    "Rotate": 0.3,
    "Posterize": 0,
    "Solarize": 0.005,
    "SolarizeAdd": 0.005,
    "Color": 0.025,
    "Contrast": 0.005,
    "Brightness": 0.005,
    "Sharpness": 0.025,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateX": 0.1,
    "TranslateY": 0.1,
}
_RAND_FILTERS = {
    "bilinear": (_BILINEAR,),
    "bicubic": (_BICUBIC,),
    "lanczos": (_LANCZOS,),
    "random": (_BILINEAR, _BICUBIC),
}


class _RandOptions(NamedTuple):
    """What "rand-m9-n2-mstd0.5-inc1-w0" says: magnitude, number of operations, noise, scales, weights."""

    m: float = 10
    n: int = 2
    mstd: float = 0
    inc: int = 0
    w: Optional[int] = None

    @classmethod
    def parse(cls, text):
        kind, *sections = text.split("-")
        options = {}
        for section in sections:
            match = re.fullmatch(r"(mstd|inc|m|n|w)(\d+(?:\.\d+)?)", section)
            if match is None:
                raise ConfigError(
                    f"config_str '{text}': '{section}' is not one of m, n, mstd, inc, w with a number"
                )
            name, number = match.groups()
            try:
                options[name] = float(number) if name in ("m", "mstd") else int(number)
            except ValueError:
                raise ConfigError(f"config_str '{text}': {name} takes a whole number, got {number}") from None
        if kind != "rand":
            raise ConfigError(
                f"config_str '{text}' is not RandAugment; for example rand-m7-mstd0.5-inc1, or null"
            )
        if options.get("w", 0) != 0:
            raise ConfigError(f"config_str '{text}': w0 is the only set of weights")
        parsed = cls(**options)
        most = sum(weight > 0 for weight in _RAND_WEIGHTS.values())
        if parsed.m > _RAND_TOP_LEVEL or (parsed.w is not None and parsed.n > most):
            raise ConfigError(
                f"config_str '{text}': m is at most {_RAND_TOP_LEVEL} and n with w0 at most {most}"
            )
        return parsed


@TRANSFORMS.register()
class TimmAutoAugment:
    """timm's RandAugment: `n` random operations at a common magnitude, each applied with probability 1/2.

    Takes and returns a uint8 array (H, W, 3) or a Pillow image of any size.

    Args:
        prob: probability of augmenting an image at all.
        config_str: "rand" and, with dashes, m<magnitude 0..10>, n<operations>, mstd<standard deviation of the
            magnitude>, inc1 (every operation acts harder as the magnitude rises), w0 (weighted choice
            without repetition); None leaves images unchanged.
        interpolation: of geometric operations: bicubic, bilinear, lanczos or random.
        img_size: accepted from PaddleClas; translations are shares of the side and need no size.
        mean: RGB in 0..1 of the corners that geometric operations leave empty.
    """

    def __init__(
        self,
        prob: Probability = 1.0,
        config_str: Optional[str] = "rand-m9-mstd0.5-inc1",
        interpolation: str = "bicubic",
        img_size: Union[PositiveInt, Tuple[PositiveInt, PositiveInt]] = 224,
        mean: Tuple[Probability, Probability, Probability] = IMAGENET_MEAN,
    ):
        if interpolation not in _RAND_FILTERS:
            raise ConfigError(f"interpolation is one of {', '.join(_RAND_FILTERS)}; got '{interpolation}'")
        self.prob = prob
        self.options = None if config_str is None else _RandOptions.parse(config_str)
        self.fill = tuple(min(255, round(255 * value)) for value in mean)
        self._filters = _RAND_FILTERS[interpolation]

    def __call__(self, image, rng):
        if self.options is None or rng.random() >= self.prob:
            return image
        names, weights = list(_RAND_WEIGHTS), None
        if self.options.w is not None:
            weights = np.array(list(_RAND_WEIGHTS.values()))
            weights = weights / weights.sum()
        result = to_pil(image)
        for index in rng.choice(len(names), self.options.n, replace=weights is None, p=weights):
            if rng.random() < 0.5:
                magnitude = rng.normal(self.options.m, self.options.mstd)
                result = self.apply(result, names[index], min(_RAND_TOP_LEVEL, max(0, magnitude)), rng)
        return result if isinstance(image, Image.Image) else to_array(result)

    def apply(self, image, name, level, rng):
        """Return the Pillow `image` after operation `name` at `level` 0..10."""
        scale = _RAND_SCALES[bool(self.options.inc)].get(name)
        amount = scale and scale.amount(level / _RAND_TOP_LEVEL, rng)
        return _OPERATIONS[name](image, amount, self.fill, self._filters[rng.integers(len(self._filters))])
