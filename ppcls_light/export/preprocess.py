"""Preprocessing inside the exported graph: uint8 photos (N, H, W, 3) to a network's input (N, C, h, w).

Resizing is written out in gathers and products, with the rounding of OpenCV, since the resize operators of the
engines differ from it and from each other. Of the resized photo only the crop is computed. Sums of pixels and weights
are exact in float32 as far as OpenCV's are in integers.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Callable, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import paddle
from paddle import Tensor, nn

from ..bundle.folder import Channels, Ops, split_decode
from ..config.types import Op
from ..data.image import pair
from ..data.transforms.compose import NORMALISING, InGraph, build_transforms
from ..data.transforms.core import DecodeImage
from ..errors import ExportError

Kernel = Callable[[Tensor], Tensor]  # weights of distances in pixels
# Of places and weights. oneDNN in Paddle 3.3 has only float32, where it writes results over values that are needed
# again; in float64 Paddle's passes for it break arithmetic that an activation (abs, clip, relu) or a scale follows, so
# that there is none here. OpenVINO may compute in float32, which the order of the operations allows for.
_EXACT = "float64"
_ONE = 1 << 11  # of OpenCV's weights


def _number(value: float, dtype: str = _EXACT) -> Tensor:
    """Return a constant as a tensor (1,): as a scalar it would be a scale, see `_EXACT`."""
    return paddle.to_tensor([value], dtype=dtype)


def _cubic(a: float) -> Kernel:
    """Return Keys' cubic convolution (1981) with its parameter `a`."""

    def kernel(distance: Tensor) -> Tensor:
        d = _size(distance)
        near = (_number(a + 2) * d - _number(a + 3)) * d * d + _number(1)
        far = ((_number(a) * d - _number(5 * a)) * d + _number(8 * a)) * d - _number(4 * a)
        return _inside(d, 1, near - far) + _inside(d, 2, far)

    return kernel


def _lanczos(lobes: int) -> Kernel:
    def kernel(distance: Tensor) -> Tensor:
        return _inside(_size(distance), lobes, _sinc(distance) * _sinc(distance / _number(lobes)))

    return kernel


def _linear(distance: Tensor) -> Tensor:
    return _inside(_size(distance), 1, _number(1) - _size(distance))


def _sinc(distance: Tensor) -> Tensor:
    angle = _number(math.pi) * _size(distance) + _number(1e-9)  # of which the sine is the same number
    return paddle.sin(angle) / angle


def _size(distance: Tensor) -> Tensor:
    return paddle.maximum(distance, _number(0) - distance)


def _inside(distance: Tensor, limit: float, values: Tensor) -> Tensor:
    return values * (distance < _number(limit)).astype(_EXACT)


class Filter(NamedTuple):
    """An interpolation: `kernel` is 0 from `reach` pixels on; OpenCV rounds the weights of some to 11 bits."""

    kernel: Kernel
    reach: int
    rounded: bool = True


# By interpolation, as OpenCV's builds for x86 compute them. Others cannot be had to within a grey level: nearest and,
# in photos that it enlarges, area choose whole pixels by the last bit of a double; Pillow's, written as products of
# matrices, come out wrong in Paddle 3.3 with oneDNN for photos of some sizes.
FILTERS = {
    "bilinear": Filter(_linear, 1),
    "bicubic": Filter(_cubic(-0.75), 2, rounded=False),
    "lanczos": Filter(_lanczos(4), 4),
}
GREY_LEVELS = 1  # between a pixel here and there, at most


@dataclass(frozen=True)
class Resize:
    """A resize to `size` (width, height), or of the short side to `short` pixels."""

    interpolation: str
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
    if resize.name == "ResizeImage":
        backend = str(resize.params.get("backend") or "cv2").lower()
        found = Resize(interpolation, built.size, built.resize_short)
    else:
        backend = "cv2" if decoder.to_np else "pil"
        if isinstance(built.size, int):
            found = Resize(interpolation, None, built.size, rounds_down=True)
        else:
            found = Resize(interpolation, pair(built.size)[::-1])
    if backend != "cv2" or interpolation not in FILTERS:
        raise ExportError(
            f"Global.export_preprocess: {resize.name}.interpolation {interpolation} of {backend} is not the same image "
            f"in a graph to within a grey level; use {', '.join(FILTERS)} of cv2, or leave it out"
        )
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


@dataclass(frozen=True)
class Axis:
    """Places of the crop's pixels in the photo along one axis: `first` + `fraction`, whole and in [0, 1).

    `length` is the photo's, in pixels.
    """

    first: Tensor
    fraction: Tensor
    length: Tensor

    @classmethod
    def of(cls, length: Tensor, resized: Tensor, crop: int, rounds_even: bool) -> Axis:
        """Return that of the centre `crop` pixels of `length` pixels which are `resized`, int64 (1,) both.

        All is counted from the centre, where the numbers are small enough to be exact. Half a pixel of an odd rest goes
        to the end, as of CropImage, or with `rounds_even` as of CenterCrop.
        """
        rest = resized - crop
        shift = rest % 2
        if rounds_even:  # 2 * left is then rest - 1 or rest + 1
            shift = shift * (1 - 2 * (rest // 2 % 2))
        source, target, shift = (value.astype(_EXACT) for value in (length, 2 * resized, shift))
        numerator = (paddle.arange(1 - crop, crop, 2).astype(_EXACT) - shift) * source
        whole = paddle.floor(numerator / target)
        middle = (source - _number(1)) / _number(2)
        centre = paddle.floor(middle)
        fraction = (numerator - whole * target) / target + (middle - centre)
        carry = paddle.floor(fraction)
        return cls(whole + centre + carry, fraction - carry, length)


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
        self._resize = resize = _resize(decoder, rest[:values])
        self._rounds_even = rest[values - 1].name == "CenterCrop"
        self._crop = tuple(image_shape[1:])  # which `verify` compares with what the transforms give
        self._filter = FILTERS[resize.interpolation]
        self._order, self._factors, self._offsets = _values(rest[values:])
        self.decode = InGraph([decoder]).prepare

    def grey_levels(self, found: np.ndarray, expected: np.ndarray) -> float:
        """Return how far apart two results (C, h, w) are, at most, in levels of the resized photo."""
        used = self._factors[0, :, 0, 0] != 0
        return float(np.abs((found - expected)[used] / self._factors[0, used]).max())

    def forward(self, photos: Tensor) -> Tensor:
        image = self._resized(photos, *self._axes(photos))
        planes = [image[:, channel : channel + 1] for channel in self._order]
        factors, offsets = paddle.to_tensor(self._factors), paddle.to_tensor(self._offsets)
        return paddle.concat(planes, axis=1) * factors + offsets

    def _axes(self, photos: Tensor) -> List[Axis]:
        shape = paddle.shape(photos).astype("int64")
        lengths = shape[1:2], shape[2:3]
        resized = self._resize.sizes(*lengths)
        return [Axis.of(*of_axis, self._rounds_even) for of_axis in zip(lengths, resized, self._crop)]

    def _resized(self, photos: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Return the crop, resized as OpenCV does: by the pixels in reach; the border goes on outside of the photo."""
        taps, height = range(2 * self._filter.reach), self._crop[0]
        planes = paddle.gather(photos, paddle.concat(self._near(rows)), axis=1).transpose([0, 3, 1, 2])
        across, down = (self._weights(axis) for axis in (columns, rows))
        near = (paddle.gather(planes, pixels, axis=3) for pixels in self._near(columns))
        lines = _sum(pixels.astype("float32") * weights for pixels, weights in zip(near, across))
        parts = [lines[:, :, tap * height : (tap + 1) * height] for tap in taps]
        weighted = zip(parts, (weights.unsqueeze(1) for weights in down))
        if self._filter.reach > 1:
            return _grey(_sum(part * weights for part, weights in weighted) / _number(_ONE**2, "float32"))
        # OpenCV's integers keep a sixteenth of the sums, and of their products a quarter of a grey level.
        units = [_number(unit, "float32") for unit in (16, 65536, 2, 4)]
        quarters = (
            paddle.floor(paddle.floor(part / units[0]) * weights / units[1]) for part, weights in weighted
        )
        return paddle.floor((_sum(quarters) + units[2]) / units[3])

    def _near(self, axis: Axis) -> List[Tensor]:
        """Return the places of the pixels in reach, from the first on, int64 (crop,) each."""
        reach = self._filter.reach
        places = [(axis.first + _number(offset)).astype("int64") for offset in range(1 - reach, reach + 1)]
        return [paddle.minimum(paddle.clip(place, min=0), axis.length - 1) for place in places]

    def _weights(self, axis: Axis) -> List[Tensor]:
        """Return the weights of the pixels in reach, from the first on, as parts of `_ONE`."""
        places = (axis.first + axis.fraction).astype("float32")  # which is what OpenCV has of them
        fraction = places.astype(_EXACT) - axis.first
        reach = self._filter.reach
        found = [self._filter.kernel(fraction - _number(offset)) for offset in range(1 - reach, reach + 1)]
        total = _sum(found)
        weights = [one / total * _number(_ONE) for one in found]
        weights = [_to_even(one) for one in weights] if self._filter.rounded else weights
        return [one.astype("float32") for one in weights]


def _sum(values: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, values)


def _to_even(values: Tensor) -> Tensor:
    """Return `values` rounded, halves to even; `paddle.round` has them away from 0."""
    half, two = _number(0.5), _number(2)
    up = paddle.floor(values + half)
    odd = up - two * paddle.floor(up / two)
    return up - odd * (up - values == half).astype(_EXACT)


def _grey(values: Tensor) -> Tensor:
    """Return `values` rounded to grey levels, halves up."""
    return paddle.clip(paddle.floor(values + _number(0.5, "float32")), 0, 255)
