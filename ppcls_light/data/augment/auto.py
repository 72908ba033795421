"""AutoAugment's policy for ImageNet (Cubuk et al., arXiv 1805.09501)."""

from typing import Tuple

from ...config.types import ByteValue
from ...registry import TRANSFORMS
from ..image import as_given, to_pil
from .operations import BICUBIC, NEAREST, PAPER_SCALES, PAPER_TOP_LEVEL, Operations
from .policies import IMAGENET_POLICY, apply_one_of


@TRANSFORMS.register()
class AutoAugment:
    """The ImageNet policy of AutoAugment: one of 25 pairs of operations, each with its own probability.

    Takes and returns a uint8 array (H, W, 3) or a Pillow image of any size.

    Args:
        fillcolor: RGB of the corners that rotation and shear leave empty.
    """

    def __init__(self, fillcolor: Tuple[ByteValue, ByteValue, ByteValue] = (128, 128, 128)):
        self.operations = Operations(PAPER_SCALES, PAPER_TOP_LEVEL, fillcolor, (NEAREST,), (BICUBIC,))

    def __call__(self, image, rng):
        return as_given(image, apply_one_of(IMAGENET_POLICY, self.operations.apply, to_pil(image), rng))
