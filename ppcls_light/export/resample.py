"""Resampling of photos inside a graph, as OpenCV and as Pillow do it to the grey level.

It is written out in gathers and products, with their rounding, since the resize operators of the engines differ from
both and from each other. Of the resized photo only the crop is computed.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Tuple, Union

import paddle
from paddle import Tensor

Kernel = Callable[[Tensor], Tensor]  # weights of distances in pixels
# Of places and weights. oneDNN in Paddle 3.3 has only float32, where it writes results over values that are needed
# again; in float64 Paddle's passes for it break arithmetic that an activation (abs, clip, relu), a scale or an
# unsqueeze follows, so that there is none here. OpenVINO may compute in float32, which the order of the operations
# allows for.
_EXACT = "float64"
_ONE = 1 << 11  # of OpenCV's weights
_PILLOWS_ONE = 1 << 22


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


@dataclass(frozen=True)
class Axis:
    """Places of the crop's pixels along one axis of the photo: `offsets` / (2 * `resized`) from its centre, in pixels.

    The lengths, int64 (1,), are those of the photo and of the `resized` one; `crop` is the number of pixels.
    """

    length: Tensor
    resized: Tensor
    crop: int
    rounds_even: bool

    @property
    def offsets(self) -> Tensor:
        """Float64 (crop,), whole numbers.

        All is counted from the centre, where the numbers are small enough to be exact. Half a pixel of an odd rest goes
        to the end, as of CropImage, or with `rounds_even` as of CenterCrop.
        """
        rest = self.resized - self.crop
        shift = rest % 2
        if self.rounds_even:  # 2 * left is then rest - 1 or rest + 1
            shift = shift * (1 - 2 * (rest // 2 % 2))
        return (_exact(paddle.arange(1 - self.crop, self.crop, 2)) - _exact(shift)) * _exact(self.length)

    def places(self) -> Tuple[Tensor, Tensor]:
        """Return the places, counted from the first pixel, float64 (crop,), as whole numbers and a rest in [0, 1)."""
        offsets, target = self.offsets, _exact(2 * self.resized)
        whole = paddle.floor(offsets / target)
        middle = (_exact(self.length) - _number(1)) / _number(2)
        centre = paddle.floor(middle)
        fraction = (offsets - whole * target) / target + (middle - centre)
        carry = paddle.floor(fraction)
        return whole + centre + carry, fraction - carry


@dataclass(frozen=True)
class OpenCV:
    """A resize as OpenCV's builds for x86 compute it: by the pixels in reach; the border goes on outside of the photo.

    `kernel` is 0 from `reach` pixels on; OpenCV rounds the weights of some to 11 bits. Sums of pixels and weights are
    exact in float32 as far as OpenCV's are in integers.
    """

    kernel: Kernel
    reach: int
    rounded: bool = True

    def __call__(self, photos: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Return the crop, float32 (N, 3, h, w), of uint8 photos (N, H, W, 3)."""
        taps, height = range(2 * self.reach), rows.crop
        (top, down), (left, across) = self._near(rows), self._near(columns)
        planes = paddle.gather(photos, paddle.concat(top), axis=1).transpose([0, 3, 1, 2])
        near = (paddle.gather(planes, pixels, axis=3) for pixels in left)
        lines = _sum(pixels.astype("float32") * weights for pixels, weights in zip(near, across))
        parts = [lines[:, :, tap * height : (tap + 1) * height] for tap in taps]
        weighted = zip(parts, (weights.unsqueeze(1) for weights in down))
        if self.reach > 1:
            return _grey(_sum(part * weights for part, weights in weighted) / _number(_ONE**2, "float32"))
        # OpenCV's integers keep a sixteenth of the sums, and of their products a quarter of a grey level.
        units = [_number(unit, "float32") for unit in (16, 65536, 2, 4)]
        quarters = (
            paddle.floor(paddle.floor(part / units[0]) * weights / units[1]) for part, weights in weighted
        )
        return paddle.floor((_sum(quarters) + units[2]) / units[3])

    def _near(self, axis: Axis) -> Tuple[List[Tensor], List[Tensor]]:
        """Return the pixels in reach from the first on, int64 (crop,) each, and their weights as parts of `_ONE`."""
        first, fraction = axis.places()
        taps = range(1 - self.reach, self.reach + 1)
        pixels = [(first + _number(tap)).astype("int64") for tap in taps]
        places = (first + fraction).astype("float32")  # which is what OpenCV has of them
        fraction = places.astype(_EXACT) - first
        found = [self.kernel(fraction - _number(tap)) for tap in taps]
        total = _sum(found)
        weights = [one / total * _number(_ONE) for one in found]
        weights = [_to_even(one) for one in weights] if self.rounded else weights
        return (
            [paddle.minimum(paddle.clip(pixel, min=0), axis.length - 1) for pixel in pixels],
            [one.astype("float32") for one in weights],
        )


@dataclass(frozen=True)
class Pillow:
    """A resize as Pillow computes it: `kernel` is widened where the photo shrinks, so that every pixel counts.

    Both passes are products of matrices. In float64 they are exact; OpenVINO's in float32 round some halves of a grey
    level the other way.
    """

    kernel: Kernel

    def __call__(self, photos: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Return the crop, float32 (N, 3, h, w), of uint8 photos (N, H, W, 3)."""
        planes = photos.transpose([0, 3, 1, 2]).astype(_EXACT)
        lines = self._rounded(paddle.matmul(planes, self._weights(columns)))
        found = paddle.matmul(self._weights(rows).transpose([1, 0]), lines)
        return self._rounded(found).astype("float32")

    def _weights(self, axis: Axis) -> Tensor:
        """Return those of all pixels of the photo in those of the crop, float64 (length, crop), parts of one."""
        source, target = _exact(axis.length), _exact(axis.resized)
        pixels = _exact(paddle.arange(0, axis.length, 1).reshape([-1, 1]))
        from_centre = (_number(2) * pixels + (_number(1) - source)) * target
        widened = _number(2) * paddle.maximum(source, target)
        found = self.kernel((from_centre - axis.offsets) / widened)
        parts = found / found.sum(0, keepdim=True) * _number(_PILLOWS_ONE)
        return paddle.floor(parts + _number(0.5))

    @staticmethod
    def _rounded(values: Tensor) -> Tensor:
        return _grey(values / _number(_PILLOWS_ONE))


Filter = Union[OpenCV, Pillow]
# By backend and interpolation. Others cannot be had to within a grey level: OpenCV's nearest and, in photos that it
# enlarges, area, and Pillow's nearest and box choose whole pixels by the last bit of a double.
FILTERS: Dict[str, Dict[str, Filter]] = {
    "cv2": {
        "bilinear": OpenCV(_linear, 1),
        "bicubic": OpenCV(_cubic(-0.75), 2, rounded=False),
        "lanczos": OpenCV(_lanczos(4), 4),
    },
    "pil": {
        "bilinear": Pillow(_linear),
        "bicubic": Pillow(_cubic(-0.5)),
        "lanczos": Pillow(_lanczos(3)),
    },
}


def _exact(values: Tensor) -> Tensor:
    return values.astype(_EXACT)


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
    half = paddle.to_tensor([0.5], dtype=values.dtype)
    return paddle.clip(paddle.floor(values + half), 0, 255)
