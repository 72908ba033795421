"""Helpers for images passed between transforms: array and Pillow conversion, size checks, resizing."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from ..config.types import ByteValue, PositiveInt
from ..errors import ConfigError, DataError
from ..registry import nearest
from .decode import check_backend
from .guards.limits import MAX_PIXELS
from .opencv import opencv

Picture = Union[np.ndarray, Image.Image]
WidthHeight = Tuple[int, int]

# Parameters of ops
Size = Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]
Rgb = Tuple[ByteValue, ByteValue, ByteValue]

_PIL_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
_CV2_FILTERS = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}


def to_pil(image: Picture) -> Image.Image:
    """Return `image`, an array uint8 (H, W, 3) or a Pillow image, as a Pillow image.

    Raises ConfigError: an array of another kind, as NormalizeImage and ToCHWImage make them.
    """
    if isinstance(image, Image.Image):
        return image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(
            "an op of transform_ops needs an image of 8-bit values (H, W, 3) and got "
            f"{image.dtype} {image.shape}; move it before NormalizeImage, ToTensor and ToCHWImage"
        )
    return Image.fromarray(np.ascontiguousarray(image))


def as_given(image: Picture, result: Picture) -> Picture:
    """Return `result` as the kind of picture that `image` is."""
    return to_pil(result) if isinstance(image, Image.Image) else np.asarray(result)


def size_of(image: Picture) -> WidthHeight:
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def rgb(colour: float | Sequence[float]) -> tuple[float, ...]:
    """Return one value for all channels, or [red, green, blue], as (red, green, blue)."""
    return (colour,) * 3 if isinstance(colour, (int, float)) else tuple(colour)


def pair(size: int | Sequence[int]) -> WidthHeight:
    """Return a side, or [width, height], as (width, height)."""
    width, height = (size, size) if isinstance(size, int) else size
    return width, height


def check_ranges(**ranges: Sequence[float]) -> None:
    """Raise ConfigError where the low end of a range, given by its key, is above the high end."""
    for name, (low, high) in ranges.items():
        if low > high:
            raise ConfigError(f"{name} is a range [low, high]; got [{low:g}, {high:g}]")


def require_possible(image: Picture, size: Sequence[int], verb: str) -> None:
    """Raise DataError if an image of `size` (width, height), made of `image` by `verb`, would have too many pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        width, height = size_of(image)
        raise DataError(
            f"{verb} {width}x{height} pixels (width x height) to {size[0]}x{size[1]} would take more than "
            f"{MAX_PIXELS:,} pixels"
        )


class Resizer:
    """Resampling by one backend; the result is the kind of picture that was given.

    Raises ConfigError: the backend is missing or does not know `interpolation`.
    """

    def __init__(self, interpolation: str | None, backend: str) -> None:
        self._backend = check_backend(backend)
        filters: Mapping[str, Any] = _PIL_FILTERS
        if self._backend == "cv2":
            filters = {name: getattr(opencv(), flag) for name, flag in _CV2_FILTERS.items()}
        name = "bilinear" if interpolation is None else str(interpolation).lower()
        if name != "random" and name not in filters:
            hint = nearest(name, filters) or f"; use {', '.join(filters)} or random"
            raise ConfigError(f"interpolation '{interpolation}' is unknown to backend {self._backend}{hint}")
        self._filters = [filters[key] for key in (("bilinear", "bicubic") if name == "random" else (name,))]

    def __call__(self, image: Picture, size: WidthHeight, rng: Any) -> Picture:
        require_possible(image, size, "resizing")
        one = len(self._filters) == 1
        resample = self._filters[0 if one else rng.integers(len(self._filters))]
        if self._backend == "cv2":
            return as_given(image, opencv().resize(np.asarray(image), size, interpolation=resample))
        return as_given(image, to_pil(image).resize(size, resample))
