"""An image as the transforms hand it on: a uint8 array (H, W, C), float32 once normalised, or a Pillow image."""

import numpy as np
from PIL import Image

from ..errors import ConfigError, DataError
from ..registry import nearest
from .decode import check_backend, cv2
from .guards.limits import MAX_PIXELS

_PIL_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
_CV2_FILTERS = cv2 and {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def to_array(image):
    """Return `image`, an array or a Pillow image, as an array (H, W, C)."""
    return image if isinstance(image, np.ndarray) else np.asarray(image)


def to_pil(image):
    """Return `image`, a uint8 array (H, W, 3) or a Pillow image, as a Pillow image.

    Raises:
        ConfigError: an array of another kind, as NormalizeImage and ToCHWImage make them.
    """
    if isinstance(image, Image.Image):
        return image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(
            "an op of transform_ops needs an image of 8-bit values (H, W, 3) and got "
            f"{image.dtype} {image.shape}; move it before NormalizeImage, ToTensor and ToCHWImage"
        )
    return Image.fromarray(np.ascontiguousarray(image))


def as_given(image, result):
    """Return `result`, an array or a Pillow image, as the kind of image that `image` is."""
    return to_pil(result) if isinstance(image, Image.Image) else to_array(result)


def size_of(image):
    """Return (width, height) of an array (H, W, C) or a Pillow image."""
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def rgb(colour):
    """Return one value for all channels, or [red, green, blue], as (red, green, blue)."""
    return (colour,) * 3 if isinstance(colour, (int, float)) else tuple(colour)


def pair(size):
    """Return a side, or [width, height], as (width, height)."""
    return (size, size) if isinstance(size, int) else tuple(size)


def crop(image, left, top, width, height):
    """Return a part of an array (H, W, C) or a Pillow image; sizes in pixels."""
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    return image[top : top + height, left : left + width]


def check_holds(image, size, key):
    """Raise DataError when `image` is smaller than a crop of `size` (width, height) that `key` asks for."""
    width, height = size_of(image)
    if width < size[0] or height < size[1]:
        raise DataError(
            f"the image is {width}x{height} pixels (width x height), smaller than {key} "
            f"{size[0]}x{size[1]}; put a ResizeImage of at least that size before it"
        )


def require_possible(image, size, verb):
    """Raise DataError if an image of `size` (width, height), made of `image` by `verb`, would have too many pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        width, height = size_of(image)
        raise DataError(
            f"{verb} {width}x{height} pixels (width x height) to {size[0]}x{size[1]} would take more than "
            f"{MAX_PIXELS:,} pixels"
        )


class Resizer:
    """Resampling by one backend; the result has the type that `image` has, an array or a Pillow image.

    Raises:
        ConfigError: the backend is missing or does not know `interpolation`.
    """

    def __init__(self, interpolation, backend):
        self._backend = check_backend(backend)
        filters = _CV2_FILTERS if self._backend == "cv2" else _PIL_FILTERS
        name = "bilinear" if interpolation is None else str(interpolation).lower()
        if name != "random" and name not in filters:
            hint = nearest(name, filters) or f"; use {', '.join(filters)} or random"
            raise ConfigError(f"interpolation '{interpolation}' is unknown to backend {self._backend}{hint}")
        self._filters = [filters[name]] if name != "random" else [filters["bilinear"], filters["bicubic"]]

    def __call__(self, image, size, rng):
        require_possible(image, size, "resizing")
        one = len(self._filters) == 1
        resample = self._filters[0] if one else self._filters[rng.integers(len(self._filters))]
        if self._backend == "cv2":
            return as_given(image, cv2.resize(to_array(image), size, interpolation=resample))
        return as_given(image, to_pil(image).resize(size, resample))
