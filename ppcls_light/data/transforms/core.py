"""Image transforms of one sample, with PaddleClas' names, parameters and meaning.

An image is HWC: a uint8 array (float32 once normalised), or a Pillow image where `DecodeImage.to_np` is False.
"""

import math
from typing import List, Optional, Tuple, Union

import numpy as np
from PIL import Image

from ...config.types import PositiveFloat, PositiveInt, Probability
from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..decode import check_backend, cv2, decode_image
from ..image import Resizer, check_holds, crop, pair, size_of, to_array

Size = Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@TRANSFORMS.register()
class DecodeImage:
    """Bytes of an image file, or its pixels -> RGB image; `ppcls_light.data.decode` has the rule for odd ones.

    Pixels are a uint8 RGB array (H, W, 3), as if decoded already.

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

    def __call__(self, data, rng=None, shrink=1):
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
        self.resize_short = resize_short
        self.return_numpy = return_numpy
        self._resize = Resizer(interpolation, backend)

    def __call__(self, image, rng=None):
        size = self.size
        if size is None:
            width, height = size_of(image)
            ratio = self.resize_short / min(width, height)
            size = (round(width * ratio), round(height * ratio))
        resized = self._resize(image, size, rng)
        return to_array(resized) if self.return_numpy else resized


@TRANSFORMS.register()
class CropImage:
    """Cut out the centre.

    Args:
        size: side, or [width, height], in pixels.

    Calling raises DataError when the image is smaller than that.
    """

    def __init__(self, size: Size = 224):
        self.size = pair(size)

    def __call__(self, image, rng=None):
        (width, height), (crop_width, crop_height) = size_of(image), self.size
        check_holds(image, self.size, "CropImage.size")
        return crop(image, (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)


def check_ranges(**ranges):
    """Raise ConfigError where the low end of a range, given by its key, is above the high end."""
    for name, (low, high) in ranges.items():
        if low > high:
            raise ConfigError(f"{name} is a range [low, high]; got [{low:g}, {high:g}]")


@TRANSFORMS.register()
class RandCropImage:
    """Cut out a random part and resize it (Szegedy et al., arXiv 1409.4842, section 6).

    The aspect ratio is drawn first, then the area from `scale` cut down to what still fits, so that no
    draw is ever rejected.

    Args:
        size: side, or [width, height], of the result in pixels.
        scale: range of the area, as a share of the image's; default [0.08, 1].
        ratio: range of width / height; default [3/4, 4/3].
        interpolation, backend: as in `ResizeImage`.
        use_log_aspect: draw the ratio log-uniformly instead of uniformly.
    """

    takes_size = True

    def __init__(
        self,
        size: Size,
        scale: Optional[Tuple[PositiveFloat, PositiveFloat]] = None,
        ratio: Optional[Tuple[PositiveFloat, PositiveFloat]] = None,
        interpolation: Optional[str] = None,
        use_log_aspect: bool = False,
        backend: str = "cv2",
    ):
        self.size = pair(size)
        self.scale = tuple(scale or (0.08, 1.0))
        self.ratio = tuple(ratio or (3 / 4, 4 / 3))
        self.use_log_aspect = use_log_aspect
        check_ranges(scale=self.scale, ratio=self.ratio)
        self._resize = Resizer(interpolation, backend)

    def box(self, width, height, rng):
        """Draw (left, top, width, height) of a part of an image of `width` x `height` pixels."""
        if self.use_log_aspect:
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        else:
            aspect = rng.uniform(*self.ratio)
        largest = min(width / height / aspect, height / width * aspect)
        area = width * height * rng.uniform(min(self.scale[0], largest), min(self.scale[1], largest))
        crop_width = min(width, max(1, int(math.sqrt(area * aspect))))
        crop_height = min(height, max(1, int(math.sqrt(area / aspect))))
        left, top = rng.integers(width - crop_width + 1), rng.integers(height - crop_height + 1)
        return int(left), int(top), crop_width, crop_height

    def __call__(self, image, rng, size=None):
        return self.cut(image, self.box(*size_of(image), rng), size, rng)

    def cut(self, image, box, size, rng):
        """Return the part `box` (left, top, width, height), resized to `size` (None: the op's own)."""
        return self._resize(crop(image, *box), size or self.size, rng)


@TRANSFORMS.register()
class RandFlipImage:
    """Flip at random.

    Args:
        flip_code: 1 left-right, 0 upside down, -1 both at once.
        p: probability of flipping.
    """

    def __init__(self, flip_code: int = 1, p: Probability = 0.5):
        if flip_code not in (-1, 0, 1):
            raise ConfigError(f"flip_code is 1 (left-right), 0 (upside down) or -1 (both); got {flip_code}")
        self.flip_code, self.p = flip_code, p

    def __call__(self, image, rng):
        if rng.random() >= self.p:
            return image
        if isinstance(image, Image.Image):
            method = {
                1: Image.Transpose.FLIP_LEFT_RIGHT,
                0: Image.Transpose.FLIP_TOP_BOTTOM,
                -1: Image.Transpose.ROTATE_180,
            }[self.flip_code]
            return image.transpose(method)
        if cv2 is not None:  # 20 times numpy's speed
            return cv2.flip(image, self.flip_code)
        axes = {1: 1, 0: 0, -1: (0, 1)}[self.flip_code]
        return np.ascontiguousarray(np.flip(image, axes))


@TRANSFORMS.register()
class NormalizeImage:
    """(image * scale - mean) / std for each channel, in float32.

    Args:
        scale: a number, or a fraction as "1.0/255.0" in YAML; default 1/255.
        mean, std: one value a channel, on the scaled image; default ImageNet's, in RGB order.
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
        values = np.arange(256, dtype=np.float32)
        self._tables = (values * self.scale - self.mean[:, None]) / self.std[:, None]

    def __call__(self, image, rng=None):
        image = to_array(image)
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
    def takes_batches(self):
        """Whether `batch` does what calling it with each image does."""
        return self.order != "chw" and self.channel_num == 3 and not self.output_fp16

    def batch(self, images):
        """Return uint8 `images` (N, H, W, 3) normalised: float32 (N, 3, H, W)."""
        count, height, width, _ = images.shape
        normalised = np.empty((count, 3, height, width), np.float32)
        for image, out in zip(images, normalised):
            self._look_up(cv2.split(image) if cv2 is not None else image.transpose(2, 0, 1), out)
        return normalised

    def _look_up(self, planes, out):
        for table, plane, values in zip(self._tables, planes, out):
            if cv2 is not None:  # 3 times numpy's speed
                cv2.LUT(plane, table, dst=values)
            else:
                np.take(table, plane, out=values, mode="clip")


@TRANSFORMS.register()
class ToCHWImage:
    """(H, W, C) -> (C, H, W)."""

    makes_chw = True

    def __call__(self, image, rng=None):
        return to_array(image).transpose(2, 0, 1)
