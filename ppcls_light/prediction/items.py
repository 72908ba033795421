"""Conversion of the images accepted by `Predictor` (paths, bytes, arrays, Pillow images) to `Item`s.

An item is read when it is taken, whatever is done ahead: a generator may close its file, or fill its array anew, before
it yields the next one. The item is a copy, so threads may share it and processes can be sent it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..base.hints import command
from ..data.decode import from_pil, read_bytes
from ..errors import DataError
from .results import why

ACCEPTED = (
    "a path, the bytes of an image file, a binary file object, a Pillow image or a uint8 array (H, W, 3), (H, W, 4), "
    "(H, W, 1) or (H, W)"
)
# Conversions of other numbers to uint8, by numpy's kinds.
_CONVERSIONS = {
    "b": "array.astype('uint8') * 255",
    "f": "(255 * array).round().clip(0, 255).astype('uint8') where 1.0 is white",
    "u": "(array >> 8).astype('uint8') where 65535 is white",
    "i": "array.clip(0, 255).astype('uint8') where 255 is white",
}


class Item(NamedTuple):
    """One image, or the reason why it is none."""

    # For the row: the path, the `filename` of a Pillow image or the `name` of a file object where those are
    # texts, None otherwise.
    name: str | None
    # Path (str), bytes of an image file, pixels (uint8 RGB array (H, W, 3)), or the DataError.
    content: str | bytes | np.ndarray | DataError

    def read(self) -> bytes | np.ndarray:
        """Return the bytes or the pixels. Raises DataError, which names the item if it has a name."""
        if isinstance(self.content, DataError):
            raise self.content
        if not isinstance(self.content, str):
            return self.content
        try:
            return read_bytes(self.content)
        except DataError:
            if os.path.isdir(self.content):
                raise DataError(
                    f"{self.content}: a folder, not an image; give the files in it, as "
                    f"ppcls_light.data.find_images(folder) lists them, or use {command('predict')}"
                ) from None
            raise
        except ValueError as error:  # a path that no file can have
            raise DataError(f"{self.content!r}: cannot be read: {error}") from None


class Items:
    """Iterator over the `Item`s of `images`, as `Predictor.predict` takes them, one or any iterable of them.

    `failure` is the exception with which `images` ended, or None; it is left to the caller, after the rows before it.
    """

    def __init__(self, images: Any, bgr: bool = False):
        self._images = iter([images] if is_one(images) else images)
        self._bgr = bgr
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self.failure is not None:
            raise StopIteration
        try:
            image = next(self._images)
        except StopIteration:
            raise
        except Exception as failure:
            self.failure = failure
            raise StopIteration from None
        return take(image, self._bgr)


def is_one(images: Any) -> bool:
    """Return whether `images` is one image, usable or not, and no iterable of them."""
    if isinstance(images, np.ndarray):
        listed = images.ndim == 1 and images.dtype.kind in "OUS"  # paths, or arrays of several sizes
        return images.ndim < 4 and not listed
    if isinstance(images, (str, os.PathLike, Mapping, Image.Image)) or hasattr(images, "read"):
        return True
    return _is_tensor(images) or _is_array_like(images) or _is_buffer(images) or not _is_iterable(images)


def take(image: Any, bgr: bool = False) -> Item:
    """Return one image as an `Item`; never raises."""
    if isinstance(image, Item):
        return image
    name = None
    try:
        name = _name(image)
        return Item(name, _content(image, bgr))
    except Exception as error:  # `image` may be of any class, and decoders have bugs
        reason = why(error)
        return Item(name, DataError(reason if name is None else f"{name}: {reason}"))


def _name(image: Any) -> str | None:
    if isinstance(image, (str, os.PathLike)):
        return str(os.fsdecode(image))
    name = getattr(image, "filename" if isinstance(image, Image.Image) else "name", None)
    given = isinstance(name, str) and (isinstance(image, Image.Image) or hasattr(image, "read"))
    return str(name) if given and name else None


def _content(image: Any, bgr: bool) -> str | bytes | np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        return str(os.fsdecode(image))
    if isinstance(image, np.ndarray):
        return _pixels(image, bgr)
    if isinstance(image, Image.Image):
        return _not_empty(from_pil(image))
    if hasattr(image, "read"):
        return _file_content(image)
    if _is_tensor(image):
        raise DataError(
            f"a {_kind(image)} is no array of numpy's; give it as one, uint8 RGB (H, W, 3): tensor.numpy() on the CPU, "
            "and .transpose(1, 2, 0) after it where the channels come first"
        )
    if _is_array_like(image):
        return _pixels(np.asarray(image), bgr)
    if _is_buffer(image):
        return bytes(image)
    if image is None:
        raise DataError("None is no image; cv2.imread, for one, returns it for a file that it cannot read")
    raise DataError(f"{_kind(image)} is no type of an image; give {ACCEPTED}")


def _file_content(file: Any) -> bytes:
    """Return all of a file object from its beginning, as Pillow reads it; the rest, where it cannot be rewound."""
    if isinstance(file, io.TextIOBase):
        raise DataError("a file that was opened as text; open it with mode 'rb'")
    if hasattr(file, "seek") and getattr(file, "seekable", lambda: True)():
        file.seek(0)
    data = file.read()
    if not _is_buffer(data):
        raise DataError(f"the file object's read() gives a {_kind(data)}, not bytes; open it with mode 'rb'")
    return bytes(data)


def _pixels(array: np.ndarray, bgr: bool) -> np.ndarray:
    """Return uint8 RGB (H, W, 3), a copy, of an array of 1, 3 or 4 channels; the fourth is alpha, and dropped."""
    if np.ma.is_masked(array):
        raise DataError("an array with masked pixels; give array.filled(value)")
    array = np.asarray(array)
    if array.dtype != np.uint8:
        fix = _CONVERSIONS.get(array.dtype.kind, ACCEPTED)
        raise DataError(f"an array of {array.dtype}, an image is uint8; give {fix}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            fix = "give array.transpose(1, 2, 0), channels last"
        elif array.ndim == 1:
            fix = "give array.tobytes() if it is the content of an image file"
        elif array.ndim == 4:
            fix = "give its images one by one"
        else:
            fix = "give (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)"
        raise DataError(f"an array of shape {array.shape} is no image; {fix}")
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return _not_empty(np.array(array[:, :, 2::-1] if bgr else array[:, :, :3], order="C"))


def _not_empty(pixels: np.ndarray) -> np.ndarray:
    if not pixels.size:
        raise DataError(
            f"the image has no pixels: its height is {pixels.shape[0]}, its width {pixels.shape[1]}; an empty crop?"
        )
    return pixels


def _is_tensor(image: Any) -> bool:
    """Return whether it is of Paddle, PyTorch, TensorFlow, JAX, CuPy, ...: all have one of the two, no image has."""
    return hasattr(image, "__dlpack__") or hasattr(image, "numpy")


def _is_array_like(image: Any) -> bool:
    """Return whether it is an array of h5py's, zarr's, xarray's, ...; a column of pandas' is a list of images."""
    return hasattr(image, "__array__") and 1 < getattr(image, "ndim", 0) < 4


def _is_buffer(image: Any) -> bool:
    try:
        memoryview(image).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


def _is_iterable(images: Any) -> bool:
    try:
        iter(images)
    except TypeError:
        return False
    return True


def _kind(image: Any) -> str:
    return f"{type(image).__module__}.{type(image).__qualname__}".replace("builtins.", "", 1)
