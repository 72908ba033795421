"""AutoAugment (Cubuk et al., arXiv 1805.09501), and RandAugment (arXiv 1909.13719) in the four forms of PaddleClas.

`TimmAutoAugment` has a fifth form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Literal, Optional

from numpy.random import Generator

from ...config.types import NonNegativeFloat, PositiveInt
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..image import Picture, Rgb, as_given, to_pil
from . import operations as ops
from .operations import ENHANCEMENTS, PAPER_SCALES, SHEARS, WITHOUT_STRENGTH, Operations, Scale
from .policies import IMAGENET_POLICY, apply_one_of

_TOP_LEVEL = 10

_SCALES = {
    **{name: scale for name, scale in PAPER_SCALES.items() if name != "Cutout"},
    "Posterize": Scale(0, 4, whole=int, within=(0, 8)),
    "Solarize": Scale(0, 256),
}
_EFFICIENTNETV2_SCALES = {
    **SHEARS,
    **dict.fromkeys(("TranslateXPixels", "TranslateYPixels"), Scale(0, 100, signed=True)),
    "Rotate": Scale(0, 30, signed=True),
    **dict.fromkeys(ENHANCEMENTS, Scale(0.1, 1.9)),
    "Posterize": Scale(0, 4, whole=int, within=(0, 8)),
    "Solarize": Scale(0, 256, whole=int),
    "SolarizeAdd": Scale(0, 110, whole=int),
    **WITHOUT_STRENGTH,
    "Cutout": Scale(0, 40, whole=int),
}
_MOBILEVITV2_SCALES = {
    **_SCALES,
    "Rotate": Scale(0, 30, signed=True),
    "Posterize": Scale(8, 4, whole=int, within=(0, 8)),
    "Solarize": Scale(255, 0, within=(0, math.inf)),
}


@TRANSFORMS.register()
class AutoAugment:
    """The ImageNet policy of AutoAugment: one of 25 pairs of operations, each with its own probability.

    `fillcolor`: RGB of the corners that rotation and shear leave empty.
    """

    def __init__(self, fillcolor: Rgb = (128, 128, 128)):
        self.operations = ops.paper_operations(fillcolor)

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        return as_given(image, apply_one_of(IMAGENET_POLICY, self.operations.apply, to_pil(image), rng))


@TRANSFORMS.register()
@dataclass(eq=False)
class RandAugment:
    """`num_layers` operations, drawn with repetition from 14, at a common magnitude.

    As in PaddleClas, posterize and solarize act hardest at magnitude 0, and rotation is to the left only.
    """

    num_layers: PositiveInt = 2  # operations that an image goes through
    magnitude: NonNegativeFloat = 5  # strength; 10 is the top of AutoAugment's ranges
    fillcolor: Rgb = (128, 128, 128)  # RGB of the parts that geometric operations leave empty

    def __post_init__(self) -> None:
        self.operations = Operations(_SCALES, _TOP_LEVEL, self.fillcolor, (ops.NEAREST,), (ops.BICUBIC,))

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        result, names = to_pil(image), self.operations.names
        for index in rng.integers(len(names), size=self.num_layers):
            result = self.operations.apply(result, names[index], self.magnitude, rng)
        return as_given(image, result)


@TRANSFORMS.register()
@dataclass(eq=False)
class RandAugmentV2(RandAugment):
    """EfficientNetV2's RandAugment (Tan and Le, arXiv 2104.00298): SolarizeAdd and Cutout as well.

    Enhancements go from 0.1 to 1.9 as the magnitude rises, translations are in pixels (100 at magnitude 10).
    """

    # Only null; PaddleClas' progressive training, which sets it, is not here.
    progress_magnitude: Optional[List[NonNegativeFloat]] = None

    def __post_init__(self) -> None:
        if self.progress_magnitude is not None:
            raise ConfigError(
                "progress_magnitude belongs to PaddleClas' progressive training, which is not here; "
                "leave it out and set magnitude"
            )
        self.operations = Operations(_EFFICIENTNETV2_SCALES, _TOP_LEVEL, self.fillcolor)


@TRANSFORMS.register()
@dataclass(eq=False)
class RandAugmentV3(RandAugment):
    """MobileViTv2's RandAugment (Mehta and Rastegari, arXiv 2206.02680): all strengths rise with magnitude."""

    magnitude: NonNegativeFloat = 3
    fillcolor: Rgb = (0, 0, 0)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # of geometric operations

    def __post_init__(self) -> None:
        filters = (ops.BICUBIC if self.interpolation == "bicubic" else ops.BILINEAR,)
        self.operations = Operations(_MOBILEVITV2_SCALES, _TOP_LEVEL, self.fillcolor, filters)


@TRANSFORMS.register()
class RandAugmentV4:
    """ML-Decoder's RandAugment (Ridnik et al., arXiv 2111.12933).

    Two operations, drawn from AutoAugment's 14 and Cutout, at levels of their own from 1 to 9; each is applied
    with probability 1/2.
    """

    operations = ops.paper_operations((128, 128, 128))

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        result = to_pil(image)
        for _ in range(2):
            name, level = self.operations.draw(rng), int(rng.integers(1, 10))
            if rng.random() < 0.5:
                result = self.operations.apply(result, name, level, rng)
        return as_given(image, result)
