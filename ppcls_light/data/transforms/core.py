"""Image transforms of one sample, with PaddleClas' names, parameters and meaning.

An image is HWC: a uint8 array (float32 once normalised), or a Pillow image where `DecodeImage.to_np` is False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, List, Optional

import numpy as np
from PIL import Image

from ...config.types import PositiveFloat, PositiveInt, Probability
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..decode import check_backend, decode_image
from ..image import Picture, Resizer, Size, as_given, pair, size_of
from ..opencv import loaded_opencv, opencv

if TYPE_CHECKING:
    from numpy.random import Generator

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@TRANSFORMS.register()
class DecodeImage:
    """Bytes of an image file, or its pixels -> RGB image; `ppcls_light.data.decode` has the rule for odd ones.

    Pixels, a uint8 RGB array (H, W, 3), are taken as decoded already.

    Args:
        to_rgb: RGB order; False gives BGR, as arrays only.
        to_np: array (H, W, 3); False gives a Pillow image.
        channel_first: array (3, H, W); the ops after it must expect that.
        backend: cv2 or pil.
        reduced: before RandCropImage, JPEG photos much larger than the crop's result are decoded at 1/2, 1/4 or
            1/8 of their size (`compose.DecodeAndCrop`). It changes nothing anywhere else, evaluation for one.
    """

    def __init__(
        self,
        to_rgb: bool = True,
        to_np: bool = True,
        channel_first: bool = False,
        backend: str = "cv2",
        reduced: bool = True,
    ):
        if not to_np and (channel_first or not to_rgb):
            raise ConfigError("to_np: False gives an RGB Pillow image; use it without channel_first and BGR")
        self.to_rgb, self.to_np, self.makes_chw = to_rgb, to_np, channel_first
        self.backend, self.reduced = check_backend(backend), reduced

    def __call__(self, data: bytes | np.ndarray, rng: Generator | None = None, shrink: int = 1) -> Picture:
        if isinstance(data, np.ndarray):
            image = data if self.to_rgb else np.ascontiguousarray(data[:, :, ::-1])
        else:
            image = decode_image(data, self.to_rgb, self.backend, shrink)
        if not self.to_np:
            return Image.fromarray(image)
        return image.transpose(2, 0, 1) if self.makes_chw else image


@TRANSFORMS.register()
class ResizeImage:
    """Resize to a size, or so that the short side has a length (the other keeps the ratio, rounded).

    Args:
        size: side, or [width, height], in pixels.
        resize_short: length of the short side in pixels; instead of `size`.
        interpolation: nearest, bilinear (default), bicubic, lanczos or random (bilinear or bicubic); with
            cv2 also area, with pil also box and hamming.
        backend: cv2 or pil. Pillow widens its filter when it shrinks an image, OpenCV does not.
        return_numpy: False keeps a Pillow image as one.
    """

    def __init__(
        self,
        size: Optional[Size] = None,
        resize_short: Optional[PositiveInt] = None,
        interpolation: Optional[str] = None,
        backend: str = "cv2",
        return_numpy: bool = True,
    ):
        if (size is None) == (resize_short is None):
            raise ConfigError("ResizeImage needs one of size and resize_short; for example resize_short: 256")
        self.size = None if size is None else pair(size)
        self.resize_short, self.return_numpy = resize_short or 0, return_numpy
        self._resize = Resizer(interpolation, backend)

    def __call__(self, image: Picture, rng: Generator | None = None) -> Picture:
        size = self.size
        if size is None:
            width, height = size_of(image)
            ratio = self.resize_short / min(width, height)
            size = (round(width * ratio), round(height * ratio))
        resized = self._resize(image, size, rng)
        return np.asarray(resized) if self.return_numpy else resized


@TRANSFORMS.register()
@dataclass(eq=False)
class RandFlipImage:
    """Flip at random."""

    flip_code: int = 1  # 1 left-right, 0 upside down, -1 both at once
    p: Probability = 0.5

    def __post_init__(self) -> None:
        if self.flip_code not in (-1, 0, 1):
            raise ConfigError(
                f"flip_code is 1 (left-right), 0 (upside down) or -1 (both); got {self.flip_code}"
            )

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        if rng.random() >= self.p:
            return image
        array = np.asarray(image)
        cv2 = opencv()
        if cv2 is not None and array.shape[-1] <= 4:  # 20 times numpy's speed
            return as_given(image, cv2.flip(array, self.flip_code))
        axes = {1: 1, 0: 0, -1: (0, 1)}[self.flip_code]
        return as_given(image, np.ascontiguousarray(np.flip(array, axes)))


@TRANSFORMS.register()
class NormalizeImage:
    """(image * scale - mean) / std for each channel, in float32.

    Args:
        scale: a number, or a fraction as "1.0/255.0" in YAML; default 1/255.
        mean, std: one value per channel, on the scaled image; default ImageNet's, in RGB order.
        order: "chw", or "" or "hwc" for images (H, W, C).
        output_fp16: round the result to float16.
        channel_num: 4 adds a channel of zeros after the third.
    """

    def __init__(
        self,
        scale: Optional[float] = None,
        mean: Optional[List[float]] = None,
        std: Optional[List[PositiveFloat]] = None,
        order: str = "chw",
        output_fp16: bool = False,
        channel_num: int = 3,
    ):
        if order not in ("chw", "hwc", ""):
            raise ConfigError(f"order is 'chw', 'hwc' or ''; got '{order}'")
        if channel_num not in (3, 4):
            raise ConfigError(f"channel_num is 3 or 4; got {channel_num}")
        self.order, self.output_fp16, self.channel_num = order, output_fp16, channel_num
        self.scale = np.float32(1 / 255 if scale is None else scale)
        self.mean = np.asarray(IMAGENET_MEAN if mean is None else mean, np.float32)
        self.std = np.asarray(IMAGENET_STD if std is None else std, np.float32)
        if self.mean.shape != (3,) or self.std.shape != (3,):
            raise ConfigError("mean and std have one value for each of the 3 channels")
        # A uint8 channel has only 256 values: looking them up gives the same floats several times faster.
        values: np.ndarray = np.arange(256, dtype=np.float32)
        self._tables = (values * self.scale - self.mean[:, None]) / self.std[:, None]

    def __call__(self, image: Picture, rng: Generator | None = None) -> np.ndarray:
        image = np.asarray(image)
        axis = 0 if self.order == "chw" else 2
        if image.ndim != 3 or image.shape[axis] != 3:
            raise ConfigError(
                f"NormalizeImage.order '{self.order}' does not fit an image of shape {image.shape}; "
                f"order: '' is for (H, W, 3), order: 'chw' for (3, H, W)"
            )
        planes = image if axis == 0 else image.transpose(2, 0, 1)
        normalised = np.zeros((self.channel_num, *planes.shape[1:]), np.float32)
        if planes.dtype == np.uint8:
            self._look_up(planes, normalised)
        else:
            mean, std = self.mean[:, None, None], self.std[:, None, None]
            normalised[:3] = (planes.astype(np.float32) * self.scale - mean) / std
        if self.output_fp16:
            normalised = normalised.astype(np.float16)
        return normalised if axis == 0 else normalised.transpose(1, 2, 0)

    @property
    def takes_batches(self) -> bool:
        """True if `batch` does to images what calling does to each."""
        return self.order != "chw" and self.channel_num == 3 and not self.output_fp16

    def batch(self, images: np.ndarray) -> np.ndarray:
        """Return uint8 `images` (N, H, W, 3) normalised: float32 (N, 3, H, W)."""
        count, height, width, _ = images.shape
        normalised = np.empty((count, 3, height, width), np.float32)
        cv2 = loaded_opencv()
        for image, out in zip(images, normalised):
            self._look_up(cv2.split(image) if cv2 is not None else image.transpose(2, 0, 1), out)
        return normalised

    def _look_up(self, planes: Iterable[np.ndarray], out: np.ndarray) -> None:
        cv2 = loaded_opencv()  # its import costs more than it saves on hundreds of images
        for table, plane, values in zip(self._tables, planes, out):
            if cv2 is not None:  # 2 to 3 times numpy's speed
                cv2.LUT(plane, table, dst=values)
            else:
                np.take(table, plane, out=values, mode="clip")


@TRANSFORMS.register()
class ToCHWImage:
    """(H, W, C) -> (C, H, W)."""

    makes_chw = True

    def __call__(self, image: Picture, rng: Generator | None = None) -> np.ndarray:
        return np.asarray(image).transpose(2, 0, 1)
