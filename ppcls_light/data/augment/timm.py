"""timm's augmentation policies (Wightman), chosen by a string such as "rand-m7-mstd0.5-inc1"."""

from __future__ import annotations

import math
import re
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from ...config.bind import located
from ...config.types import Probability
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..image import Picture, Size, as_given, to_pil
from ..transforms.core import IMAGENET_MEAN
from . import operations as ops
from .augmix import augment_and_mix
from .operations import ENHANCEMENTS, SHEARS, TRANSLATIONS, WITHOUT_STRENGTH, Operations, Scale
from .policies import IMAGENET_POLICY, THREE_AUGMENT_POLICY, V0_POLICY, apply_one_of

_TOP_LEVEL = 10
_UNIFORM_ABOVE = 100  # an mstd above this asks for levels uniform in 0..m

# As first published: posterize and solarize act hardest at level 0, enhancements go through "unchanged".
_PLAIN: dict[str, Scale | None] = {
    **WITHOUT_STRENGTH,
    "Rotate": Scale(0, 30, signed=True),
    "Posterize": Scale(0, 4, whole=int, within=(0, 8)),
    "Solarize": Scale(0, 256, whole=int, within=(0, 256)),
    "SolarizeAdd": Scale(0, 110, whole=int, within=(0, 128)),
    **dict.fromkeys(ENHANCEMENTS, Scale(0.1, 1.9)),
    **SHEARS,
    **dict.fromkeys(TRANSLATIONS, Scale(0, 0.45, signed=True)),
    "Desaturate": Scale(0.5, 1, within=(0.5, 1)),
    "GaussianBlur": Scale(0.1, 2, within=(0.1, 2)),
    "GaussianBlurRand": Scale(0, 2, within=(0.1, 2)),
}
# "inc": every operation acts harder as the level rises.
_INCREASING: dict[str, Scale | None] = {
    **_PLAIN,
    "Posterize": Scale(4, 0, whole=int, within=(0, 8)),
    "Solarize": Scale(256, 0, whole=int, within=(0, 256)),
    **dict.fromkeys(ENHANCEMENTS, Scale(1, 1.9, signed=True, within=(0.1, math.inf))),
}

_AUGMIX_SCALES = {
    **{name: _INCREASING[name] for name in ("AutoContrast", *ENHANCEMENTS, "Equalize")},
    **{name: _INCREASING[name] for name in ("Rotate", "Posterize", "Solarize", *SHEARS)},
    **dict.fromkeys(TRANSLATIONS, Scale(0, 0.3, signed=True)),
}

# first section of the string -> sub-policies and scales; "r": posterize as Google's research code has it.
_POLICIES = {
    "v0": (V0_POLICY, _PLAIN),
    "v0r": (V0_POLICY, {**_PLAIN, "Posterize": _INCREASING["Posterize"]}),
    "original": (IMAGENET_POLICY, {**_PLAIN, "Posterize": Scale(4, 8, whole=int, within=(4, 8))}),
    "originalr": (IMAGENET_POLICY, {**_PLAIN, "Posterize": _INCREASING["Posterize"]}),
    "3a": (THREE_AUGMENT_POLICY, _PLAIN),
}

# The operations of "rand" without such a section: all alike, with repetition.
_RAND_NAMES = tuple(name for name in _PLAIN if name not in ("Desaturate", "GaussianBlur", "GaussianBlurRand"))

# Sections of "rand": operations to choose from, and their weights.
_RAND_CHOICES: dict[str, dict[str, Any]] = {
    "w0": {
        **dict.fromkeys(_RAND_NAMES, 0.005),
        "Rotate": 0.3,
        **dict.fromkeys(SHEARS, 0.2),
        **dict.fromkeys(TRANSLATIONS, 0.1),
        **dict.fromkeys(("Color", "Sharpness", "AutoContrast"), 0.025),
        **dict.fromkeys(("Posterize", "Invert"), 0),
    },
    "tweights": {
        **dict.fromkeys(_RAND_NAMES, 0.05),
        "Rotate": 3,
        **dict.fromkeys(SHEARS, 2),
        **dict.fromkeys(TRANSLATIONS, 1),
        **dict.fromkeys(("Color", "Sharpness", "AutoContrast"), 0.25),
    },
    "t3a": dict.fromkeys(("Solarize", "Desaturate", "GaussianBlur"), None),
    "t3aw": {
        **dict.fromkeys(("Solarize", "Desaturate", "GaussianBlur"), 6),
        "Rotate": 3,
        **dict.fromkeys(SHEARS, 2),
        **dict.fromkeys(("Posterize", "AutoContrast", *ENHANCEMENTS, "Equalize", "Invert"), 1),
    },
}
_Filters = Sequence[Image.Resampling]
_BILINEAR, _BICUBIC = (ops.BILINEAR,), (ops.BICUBIC,)
_FILTERS = {"bilinear": _BILINEAR, "bicubic": _BICUBIC, "random": _BILINEAR + _BICUBIC}


def _read(sections: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `sections`, names with a number each; an option has the type of its default."""
    options = dict(defaults)
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
        if match is None or match[1] not in defaults:
            raise ConfigError(f"'{section}' is not one of {', '.join(defaults)} with a number")
        name, number = match.groups()
        if isinstance(defaults[name], int) and not number.isdigit():
            raise ConfigError(f"{name} takes a whole number, got {number}")
        options[name] = type(defaults[name])(number)
    return options


def _level(mean: float, deviation: float, most: float, rng: Generator) -> float:
    """Draw a level in 0..`most` around `mean`."""
    if deviation > _UNIFORM_ABOVE:
        mean = rng.uniform(0, mean)
    elif deviation > 0:
        mean = rng.normal(mean, deviation)
    return min(most, max(0, mean))


class _RandAugment:
    """RandAugment (Cubuk et al., arXiv 1909.13719): n operations, each applied with probability p."""

    def __init__(self, kind: str, sections: list[str], fill: Sequence[int], filters: _Filters) -> None:
        chosen = [section for section in sections if section in _RAND_CHOICES]
        self.options = o = _read(
            [section for section in sections if section not in _RAND_CHOICES],
            {"m": 10.0, "n": 2, "p": 0.5, "mstd": 0.0, "mmax": float(_TOP_LEVEL), "inc": 0},
        )
        if len(chosen) > 1:
            raise ConfigError(f"{chosen[0]} and {chosen[1]} exclude each other")
        choice = _RAND_CHOICES[chosen[0]] if chosen else dict.fromkeys(_RAND_NAMES)
        increasing = o["inc"] or (chosen and chosen[0] != "w0")
        self.names, weights = list(choice), list(choice.values())
        self.weights = None if None in weights else np.array(weights) / np.sum(weights)
        self.operations = Operations(_INCREASING if increasing else _PLAIN, _TOP_LEVEL, fill, filters)
        if o["m"] > o["mmax"]:
            raise ConfigError(
                f"m is at most {o['mmax']:g}, more would change nothing; mmax{o['m']:g} raises the end"
            )
        if o["p"] > 1:
            raise ConfigError("p is a probability, 0 to 1")
        if self.weights is not None and o["n"] > (most := np.count_nonzero(self.weights)):
            raise ConfigError(f"n is at most {most}, as weighted operations are not repeated")

    def __call__(self, image: Image.Image, rng: Generator) -> Image.Image:
        o = self.options
        for index in rng.choice(len(self.names), o["n"], replace=self.weights is None, p=self.weights):
            if rng.random() < o["p"]:
                level = _level(o["m"], o["mstd"], o["mmax"], rng)
                image = self.operations.apply(image, self.names[index], level, rng)
        return image


class _AugMix:
    """AugMix (Hendrycks et al., arXiv 1912.02781) with timm's operations."""

    def __init__(self, kind: str, sections: list[str], fill: Sequence[int], filters: _Filters) -> None:
        self.options = _read(sections, {"m": 3.0, "w": 3, "d": 0, "a": 1.0, "b": 0, "mstd": 0.0})
        if self.options["m"] > _TOP_LEVEL:
            raise ConfigError(f"m is at most {_TOP_LEVEL}")
        if not self.options["w"] or not self.options["a"]:
            raise ConfigError("w and a are above 0")
        self.operations = Operations(_AUGMIX_SCALES, _TOP_LEVEL, fill, filters)

    def __call__(self, image: Image.Image, rng: Generator) -> Image.Image:
        o = self.options

        def augment(chain: Image.Image) -> Image.Image:
            name = self.operations.draw(rng)
            return self.operations.apply(chain, name, _level(o["m"], o["mstd"], _TOP_LEVEL, rng), rng)

        return augment_and_mix(image, o["a"], o["w"], o["d"], rng, augment)


class _SubPolicies:
    """One of the policies of AutoAugment's kind (Cubuk et al., arXiv 1805.09501)."""

    def __init__(self, kind: str, sections: list[str], fill: Sequence[int], filters: _Filters) -> None:
        self.deviation = _read(sections, {"mstd": 0.0})["mstd"]
        self.policy, scales = _POLICIES[kind]
        self.operations = Operations(scales, _TOP_LEVEL, fill, filters)

    def __call__(self, image: Image.Image, rng: Generator) -> Image.Image:
        return apply_one_of(self.policy, self._apply, image, rng)

    def _apply(self, image: Image.Image, name: str, level: float, rng: Generator) -> Image.Image:
        return self.operations.apply(image, name, _level(level, self.deviation, _TOP_LEVEL, rng), rng)


_KINDS: dict[str, Any] = {"rand": _RandAugment, "augmix": _AugMix}
_KINDS |= dict.fromkeys(_POLICIES, _SubPolicies)


@TRANSFORMS.register()
class TimmAutoAugment:
    """timm's RandAugment, AugMix and AutoAugment policies, chosen by `config_str`.

    The first word of `config_str` is the policy, further ones, with dashes, set options (here with their defaults);
    None leaves images unchanged.

    | policy | operations |
    |---|---|
    | rand | n2 random operations, each with p0.5, at magnitude m10 of 10 |
    | augmix | mean with w3 chains of d0 operations (0: 1 to 3) at m3; a1: alpha of the weights |
    | original, v0 | a learned pair of operations; originalr, v0r: posterize acts harder as its level rises |
    | 3a | 3-Augment (arXiv 2204.07118): solarize, towards grey, or blur |

    | option | of | meaning |
    |---|---|---|
    | mstd0 | all | standard deviation of the magnitude; above 100: uniform from 0 to the magnitude |
    | mmax10 | rand | upper end of the magnitude, for an m above 10 |
    | inc0 | rand | inc1: every operation acts harder as the magnitude rises |
    | w0, tweights | rand | weighted choice without repetition, PaddleClas' weights or timm's newer ones |
    | t3a, t3aw | rand | 3-Augment's operations; those and others, weighted |
    | b0 | augmix | b1 is timm's other way to the same sum |

    Args:
        config_str: for example rand-m7-mstd0.5-inc1.
        interpolation: of geometric operations: bicubic, bilinear, or random (one of the two).
        img_size: accepted from PaddleClas; translations are shares of the side and need no size.
        mean: RGB in 0..1 of the parts that geometric operations leave empty.
    """

    def __init__(
        self,
        prob: Probability = 1.0,
        config_str: Optional[str] = "rand-m9-mstd0.5-inc1",
        interpolation: str = "bicubic",
        img_size: Size = 224,
        mean: Tuple[Probability, Probability, Probability] = IMAGENET_MEAN,
    ):
        if interpolation not in _FILTERS:
            raise ConfigError(
                f"interpolation is one of {', '.join(_FILTERS)}, with which Pillow rotates; got '{interpolation}'"
            )
        self.prob = prob
        self.fill = tuple(min(255, round(255 * value)) for value in mean)
        self.policy = None
        if config_str is not None:
            kind, *sections = config_str.split("-")
            if kind not in _KINDS:
                raise ConfigError(
                    f"config_str '{config_str}' starts with none of {', '.join(_KINDS)}; "
                    "for example rand-m7-mstd0.5-inc1, or null"
                )
            with located("", f"config_str '{config_str}'"):
                self.policy = _KINDS[kind](kind, sections, self.fill, _FILTERS[interpolation])

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if self.policy is None or rng.random() >= self.prob:
            return image
        return as_given(image, self.policy(to_pil(image), rng))
