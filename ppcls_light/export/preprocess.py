"""Preprocessing inside the exported graph: uint8 photos (N, H, W, 3) to a network's input (N, C, h, w)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np
import paddle
from paddle import Tensor, nn

from ..bundle.folder import Channels, Ops, split_decode
from ..config.types import Op
from ..data.image import pair
from ..data.transforms.compose import NORMALISING, InGraph, build_transforms
from ..data.transforms.core import DecodeImage
from ..errors import ExportError
from .resample import FILTERS, Axis, Filter

GREY_LEVELS = 1  # between a pixel here and there, at most


@dataclass(frozen=True)
class Resize:
    """A resize by `resample` to `size` (width, height), or of the short side to `short` pixels."""

    resample: Filter
    size: Optional[Tuple[int, int]] = None
    short: int = 0
    rounds_down: bool = False  # the long side

    def sizes(self, *lengths: Tensor) -> List[Tensor]:
        """Return the height and the width of the result, int64 (1,), of those of a photo."""
        if self.size is not None:
            return [paddle.to_tensor([side]) for side in reversed(self.size)]
        short = paddle.minimum(*lengths)
        if self.rounds_down:
            return [self.short * length // short for length in lengths]
        return [self._rounded(length, short) for length in lengths]

    def _rounded(self, length: Tensor, short: Tensor) -> Tensor:
        """Return round(length * (self.short / short)) as Python has it, halves to even."""
        numerator = 2 * self.short * length + short
        rounded = numerator // (2 * short)
        half = numerator == rounded * (2 * short)
        odd = rounded % 2 == 1
        if (exceptions := _rounded_otherwise(self.short)).size:
            pairs = paddle.to_tensor(exceptions)
            odd = odd ^ ((pairs[0] == short) & (pairs[1] == length)).any()
        return rounded - (half & odd).astype("int64")


def _rounded_otherwise(size: int, limit: int = 1 << 14) -> np.ndarray:
    """Return the photos up to `limit` pixels, int64 (2, n) of short and long sides, whose half is not rounded to even.

    Of these size / short is rounded to a double so that the product with the long side is no half any more.
    """
    found = []
    for short in range(2, limit + 1, 2):
        part = short // math.gcd(size, short)
        if part % 2 or size // math.gcd(size, short) % 2 == 0:  # no multiple of size / short is a half
            continue
        sides = np.arange(part // 2, limit + 1, part)
        sides = sides[sides >= short]
        exact = sides * size // short  # and a half
        others = sides[np.rint(sides * (size / short)).astype(np.int64) != exact + exact % 2]
        found += [(short, side) for side in others]
    return np.array(found, np.int64).reshape(-1, 2).T


def _resize(decoder: DecodeImage, ops: Sequence[Op]) -> Resize:
    """Return the resize of `ops`, which are that and a crop of the centre. Raises ExportError: they are not."""
    names = [op.name for op in ops]
    resize = ops[0] if names and names[0] in ("ResizeImage", "Resize") else None
    if resize is None or names[1:] not in ([], ["CropImage"], ["CenterCrop"]):
        raise ExportError(
            f"Global.export_preprocess: a graph has ResizeImage or Resize first, then CropImage or CenterCrop; the "
            f"transforms have {', '.join(names) or 'none of these'} before the values are normalised. Change them, or "
            "leave it out"
        )
    built = build_transforms([resize]).ops[0]
    interpolation = str(resize.params.get("interpolation") or "bilinear").lower()
    of_array = resize.name == "ResizeImage"
    backend = (
        str(resize.params.get("backend") or "cv2").lower()
        if of_array
        else ("cv2" if decoder.to_np else "pil")
    )
    resample = FILTERS[backend].get(interpolation)
    if resample is None:
        raise ExportError(
            f"Global.export_preprocess: {resize.name}.interpolation {interpolation} of {backend} is not the same image "
            f"in a graph to within a grey level; use {', '.join(FILTERS[backend])}, or leave it out"
        )
    if of_array:
        found = Resize(resample, built.size, built.resize_short)
    elif isinstance(built.size, int):
        found = Resize(resample, None, built.size, rounds_down=True)
    else:
        found = Resize(resample, pair(built.size)[::-1])
    if found.size is None and len(ops) == 1:
        raise ExportError(
            f"Global.export_preprocess: {resize.name} of the short side gives images of many sizes; add CropImage, or "
            "leave it out"
        )
    return found


def _values(ops: Sequence[Op]) -> Tuple[List[int], np.ndarray, np.ndarray]:
    """Return what `ops` make of a pixel: each channel is one of the photo's, times a factor, plus an offset.

    Found by trying. Raises ExportError: they do something else.
    """
    prepare = build_transforms(ops)
    pixels = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    offsets, *full = (prepare(np.full((2, 2, 3), pixel, np.uint8))[:, 0, 0] for pixel in pixels)
    slopes = (np.stack(full, axis=1) - offsets[:, None]) / 255
    order = np.abs(slopes).argmax(axis=1)
    factors = slopes[np.arange(len(order)), order]
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    expected = prepare(picture)
    found = picture.transpose(2, 0, 1)[order] * factors[:, None, None] + offsets[:, None, None]
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-5, atol=1e-5):
        raise ExportError(
            f"Global.export_preprocess: {', '.join(op.name for op in ops)} have no form in a graph; use NormalizeImage "
            "(or ToTensor and Normalize) and ToCHWImage there, or leave it out"
        )
    return order.tolist(), factors.reshape(1, -1, 1, 1), offsets.reshape(1, -1, 1, 1)


class Preprocessing(nn.Layer):
    """The transforms `ops` of a folder as a layer: uint8 photos (N, H, W, 3), of one size, to float32 (N, C, h, w).

    The photos are in the order of `channels`, as `decode` makes them of a file; `image_shape` is (C, h, w).
    Resized pixels are those of `ops` up to `GREY_LEVELS`.

    Raises ExportError: an op, or the interpolation of the resize, has no form in a graph that gives the same image.
    """

    def __init__(self, ops: Ops, image_shape: Sequence[int]) -> None:
        super().__init__()
        decode, rest = split_decode(ops)
        decoder = build_transforms(decode or [Op("DecodeImage", {})]).ops[0]
        if decoder.makes_chw:
            raise ExportError("Global.export_preprocess: not with DecodeImage.channel_first; use ToCHWImage")
        self.channels: Channels = "rgb" if decoder.to_rgb else "bgr"
        last = (*NORMALISING, "ToCHWImage")
        values = next(place for place, op in enumerate(rest) if op.name in last)
        self.resize = _resize(decoder, rest[:values])
        self._rounds_even = rest[values - 1].name == "CenterCrop"
        self.image_shape = tuple(image_shape)
        self.crop = self.image_shape[1:]  # which `verify` compares with what the transforms give
        self._order, self._factors, self._offsets = _values(rest[values:])
        self.decode = InGraph([decoder]).prepare

    def grey_levels(self, found: np.ndarray, expected: np.ndarray) -> float:
        """Return how far apart two results (C, h, w) are, at most, in levels of the resized photo."""
        used = self._factors[0, :, 0, 0] != 0
        return float(np.abs((found - expected)[used] / self._factors[0, used]).max())

    def forward(self, photos: Tensor) -> Tensor:
        image = self.resize.resample(photos, *self._axes(photos))
        planes = [image[:, channel : channel + 1] for channel in self._order]
        factors, offsets = paddle.to_tensor(self._factors), paddle.to_tensor(self._offsets)
        return paddle.concat(planes, axis=1) * factors + offsets

    def _axes(self, photos: Tensor) -> List[Axis]:
        shape = paddle.shape(photos).astype("int64")
        lengths = shape[1:2], shape[2:3]
        resized = self.resize.sizes(*lengths)
        return [Axis(*of_axis, self._rounds_even) for of_axis in zip(lengths, resized, self.crop)]
