"""AugMix (Hendrycks et al., arXiv 1912.02781): a weighted mean of an image and differently augmented copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Callable

import numpy as np
from numpy.random import Generator
from PIL import Image

from ...config.types import PositiveFloat, PositiveInt, Probability, Range
from ...registry import TRANSFORMS
from ..image import Picture, as_given, to_pil
from .operations import BILINEAR, SHEARS, TRANSLATIONS, Operations, Scale

# As the authors: operations that overlap with ImageNet-C's corruptions are left out.
_SCALES = {
    "AutoContrast": None,
    "Equalize": None,
    "Posterize": Scale(4, 0, whole=int),
    "Rotate": Scale(0, 30, signed=True, whole=int),
    "Solarize": Scale(256, 0, whole=int),
    **SHEARS,
    **dict.fromkeys(TRANSLATIONS, Scale(0, 1 / 3, signed=True)),
}
_TOP_LEVEL = 10
Change = Callable[[Image.Image], Image.Image]


def augment_and_mix(
    image: Image.Image, alpha: float, width: int, depth: int, rng: Generator, augment: Change
) -> Image.Image:
    """Return AugMix of a Pillow image (arXiv 1912.02781, algorithm 1), with `augment` as the random operation.

    `alpha` is of the Dirichlet distribution of the weights of the `width` chains and of the Beta distribution of their
    common share. A chain has `depth` operations, below 1: 1 to 3 at random.
    """
    original, mixed = np.asarray(image, np.float32), np.float32(0)
    weights, share = rng.dirichlet([alpha] * width), rng.beta(alpha, alpha)
    for weight in weights:
        chain = image
        for _ in range(depth if depth > 0 else rng.integers(1, 4)):
            chain = augment(chain)
        mixed = mixed + np.float32(weight) * np.asarray(chain, np.float32)
    mixed = original + np.float32(share) * (mixed - original)
    return Image.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))


@TRANSFORMS.register()
@dataclass(eq=False)
class AugMix:
    """Mix an image with chains of the authors' nine operations on it, without the paper's Jensen-Shannon loss."""

    prob: Probability = 0.5
    # Alpha of the Dirichlet and Beta distributions of the weights (1 in the paper).
    aug_prob_coeff: PositiveFloat = 0.1
    mixture_width: PositiveInt = 3  # number of chains
    # Operations in a chain; -1: 1 to 3 at random, as in the paper.
    mixture_depth: Annotated[int, Range(-1)] = 1
    # Upper end, of 10, of the operations' levels; each level is uniform from 0.1.
    aug_severity: Annotated[float, Range(0.1, _TOP_LEVEL)] = 1

    operations = Operations(_SCALES, _TOP_LEVEL, (0, 0, 0), (BILINEAR,))

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.prob:
            return image

        def augment(chain: Image.Image) -> Image.Image:
            name = self.operations.draw(rng)
            return self.operations.apply(chain, name, rng.uniform(0.1, self.aug_severity), rng)

        mixing = self.aug_prob_coeff, self.mixture_width, self.mixture_depth
        return as_given(image, augment_and_mix(to_pil(image), *mixing, rng, augment))
