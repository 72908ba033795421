"""`Compose`: the transforms of a config in order, for training, evaluation, inference and deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Mapping

import numpy as np

from ...config.bind import bind_plain
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..guards.jpeg import jpeg_size
from ..image import Picture, WidthHeight, size_of
from .core import DecodeImage, NormalizeImage, ToCHWImage
from .crops import Box, RandCropImage

if TYPE_CHECKING:
    from numpy.random import Generator

SHRINKS = (8, 4, 2)
NORMALISING = ("NormalizeImage", "Normalize", "ToTensor")  # ops after which values are no longer 0 to 255


def build_transforms(ops: Iterable[tuple[str, Mapping[str, Any] | None]]) -> Compose:
    """Build the transforms `ops`, (name, parameters) each.

    Raises ConfigError: an unknown name or parameter, or a value of the wrong type or range.
    """
    return Compose([bind_plain(TRANSFORMS.get(name), dict(params or {}), name) for name, params in ops])


class Compose:
    """Apply transforms in order.

    Calling it with the bytes of an image file (or the input of the first op) and, for random ops, a Generator
    returns a contiguous float32 array (C, H, W); HWC results are transposed, whether or not `ToCHWImage` was
    given. A `size` replaces the one of the ops that say `takes_size`; those that say `resizes_part`, too, show the same
    part of the image at any size.

    `prepare` and `finish` are the same in two parts, for batches: a quarter of the bytes passes between them when
    NormalizeImage is the last op.

    Attributes:
        ops: as given.
        steps: those that `prepare` applies; DecodeImage and RandCropImage may be one step.
        closing: the NormalizeImage that `finish` applies, or None.
        makes_chw: True if an op's results are channels first.
    """

    def __init__(self, ops: Iterable[Any]) -> None:
        self.ops = list(ops)
        self.makes_chw = _make_chw(self.ops)
        self.closing: NormalizeImage | None = None
        self.steps = self.ops[:]
        inner = self.ops[:-1] if self.ops and isinstance(self.ops[-1], ToCHWImage) else self.ops
        if inner and isinstance(inner[-1], NormalizeImage) and inner[-1].takes_batches:
            self.closing, self.steps = inner[-1], inner[:-1]
        if len(self.steps) > 1:
            decode, crop = self.steps[:2]
            fit = isinstance(decode, DecodeImage) and isinstance(crop, RandCropImage)
            if fit and decode.reduced and not decode.makes_chw:
                self.steps[:2] = [DecodeAndCrop(decode, crop)]
        self._steps_make_chw = _make_chw(self.steps)

    @property
    def takes_size(self) -> bool:
        return any(getattr(op, "takes_size", False) for op in self.ops)

    def __call__(
        self, image: Any, rng: Generator | None = None, size: WidthHeight | None = None
    ) -> np.ndarray:
        return self.finish(self.prepare(image, rng, size)[None])[0]

    def prepare(
        self, image: Any, rng: Generator | None = None, size: WidthHeight | None = None
    ) -> np.ndarray:
        """Apply all ops but a NormalizeImage at the end.

        The result is uint8 (H, W, 3), still to be normalised, or float32 (C, H, W).
        """
        return self.labelled(image, rng, size)[0]

    def labelled(
        self, image: Any, rng: Generator | None = None, size: WidthHeight | None = None
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Return the result of `prepare`, and {key: label} of what the ops that give labels did to the image."""
        labels = {}
        for op in self.steps:
            sized = (size,) if size is not None and getattr(op, "takes_size", False) else ()
            random = _NoRandomness(op) if rng is None else rng
            if hasattr(op, "label_key"):
                image, labels[op.label_key] = op.labelled(image, random)
            else:
                image = op(image, random, *sized)
        return self._finished(np.asarray(image)), labels

    def _finished(self, image: np.ndarray) -> np.ndarray:
        if self.closing is not None:
            if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
                return image
            image = self.closing(image)
        if image.ndim == 3 and not self._steps_make_chw:
            image = image.transpose(2, 0, 1)
        return np.ascontiguousarray(image, dtype=np.float32)

    def seen(self, image: Any) -> np.ndarray:
        """Return the picture that a network sees: RGB uint8 (H, W, 3) as it is before its values are normalised."""
        rgb = True
        for op in self.ops:
            if type(op).__name__ in NORMALISING:
                break
            rgb = rgb and getattr(op, "to_rgb", True)
            image = op(image, _NoRandomness(op))
        array = np.asarray(image)
        array = array.transpose(1, 2, 0) if array.shape[0] == 3 and array.shape[2] != 3 else array
        array = np.clip(array, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(array if rgb else array[:, :, ::-1])

    def finish(self, images: np.ndarray) -> np.ndarray:
        """Return the results float32 (N, C, H, W) of `images`, what `prepare` returned, stacked."""
        return self.closing.batch(images) if self.closing and images.dtype == np.uint8 else images


class InGraph(Compose):
    """Transforms that a network's graph applies itself: here a photo is decoded alone.

    `prepare` and calling return uint8 (H, W, 3) in the order of DecodeImage, the first of `ops`.
    """

    def prepare(
        self, image: Any, rng: Generator | None = None, size: WidthHeight | None = None
    ) -> np.ndarray:
        return np.ascontiguousarray(self.ops[0](image))

    def finish(self, images: np.ndarray) -> np.ndarray:
        return images


def _make_chw(ops: list[Any]) -> bool:
    return any(getattr(op, "makes_chw", False) for op in ops)


class _NoRandomness:
    """Stand-in for the generator of `op` where every run must give the same: ops that draw nothing never look."""

    def __init__(self, op: Any) -> None:
        self._op = getattr(op, "name", type(op).__name__)

    def __getattr__(self, _: str) -> Any:
        raise ConfigError(
            f"{self._op} is random and has no place where images are classified; leave it out of the transforms "
            "of inference (Infer.transforms, or those of DataLoader.Eval that stand in for them)"
        )


class DecodeAndCrop:
    """`DecodeImage` and the `RandCropImage` after it in one step.

    The box is drawn from the size in the file's header, by the same random numbers as without this class.
    The photo is then decoded, as (H, W, 3), at the smallest of 1/8, 1/4, 1/2 and full size at which the box still
    has as many pixels as the result, each way, so that nothing is enlarged that was not before. The box is rounded
    to pixels of that size.
    """

    takes_size = True

    def __init__(self, decode: DecodeImage, crop: RandCropImage) -> None:
        self._decode, self._crop = decode, crop
        self.name = type(crop).__name__

    def __call__(self, data: bytes, rng: Generator, size: WidthHeight | None = None) -> Picture:
        return self.cut(*self.decode(data, rng, size), rng, size)

    def decode(self, data: bytes, rng: Generator, size: WidthHeight | None = None) -> tuple[Picture, Box]:
        """Return the picture, decoded as small as it may be, and the box in it."""
        width, height = size or self._crop.size
        full = jpeg_size(data)
        if full is not None and full[0] >= SHRINKS[-1] * width and full[1] >= SHRINKS[-1] * height:
            box = self._crop.box(*full, rng)
            shrink = next((s for s in SHRINKS if box[2] >= s * width and box[3] >= s * height), 1)
            image = self._decode(data, shrink=shrink)
            if size_of(image) == (-(-full[0] // shrink), -(-full[1] // shrink)):
                return image, _reduced(box, size_of(image), shrink)
            # OpenCV or Pillow read another orientation from the file than `jpeg_size` did.
        image = self._decode(data)
        return image, self._crop.box(*size_of(image), rng)

    def cut(self, image: Picture, box: Box, rng: Generator, size: WidthHeight | None = None) -> Picture:
        """Return the part `box` of `image`, resized."""
        return self._crop.cut(image, box, size, rng)


def _reduced(box: Box, size: WidthHeight, shrink: int) -> Box:
    """Return `box` in the picture at 1 / `shrink`, of this size."""
    left, top, width, height = (round(value / shrink) for value in box)
    return min(left, size[0] - width), min(top, size[1] - height), width, height
