"""Bytes of an image file -> RGB array, by one rule for both backends.

| file | becomes |
|---|---|
| grey, 1 bit | the same value in R, G and B |
| RGBA, grey with alpha, transparent palette | alpha is dropped, colours stay as stored |
| palette | its colours |
| CMYK (JPEG, TIFF) | RGB without colour management |
| 16 bits a channel, all below 4096 | scaled by 8, 10 or 12 bits, whichever hold the largest value; said once |
| 16 bits a channel, others | the high byte |
| EXIF orientation | applied: the picture stands upright |
| several frames (GIF, TIFF) | the first one |
| cut short, empty, not of a format in `formats.FORMATS` | DataError with the reason |

Cameras of 10 and 12 bits store their values in the low bits of 16; the high byte of those is black. A file that
says its own range (TIFF's BitsPerSample and MaxSampleValue, the largest value of PGM and PPM) is scaled by that.

OpenCV decodes complete JPEG and PNG files (the rule above is its IMREAD_COLOR). All others are Pillow's in
both backends: OpenCV's treatment of them changes from version to version (4.6 fills a truncated JPEG with
grey in silence and ignores the orientation of WebP and TIFF), and Pillow says what is wrong with a file.
PNG files of 16 bits are OpenCV's in both, as Pillow reads the high byte of colours only.
"""

import contextlib
import io
import os
import struct

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import ConfigError, DataError
from .bit_depth import declared_bits, low_bytes, to_8_bits, warn_of_black
from .formats import format_of

# Pillow refuses more, as decompression bombs. OpenCV's own bound is 6 times as high; it reads this one as it loads.
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

try:
    import cv2
except ImportError:
    cv2 = None


BACKENDS = ("cv2", "pil")
# Pillow's decoders report damage by any of these.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError, RuntimeError),
    struct.error,
)
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CV2_FLAGS = cv2 and {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class NoFormatError(DataError):
    """Bytes of no format that is read, or of one whose reader is not installed."""


class TooManyPixelsError(DataError):
    """An image of more than `MAX_PIXELS`."""


def check_backend(name):
    """Return the backend called `name` ("cv2" or "pil", any case). Raises ConfigError if it cannot be used."""
    backend = str(name).lower()
    if backend not in BACKENDS:
        raise ConfigError(f"backend '{name}' is unknown; use cv2 or pil")
    if backend == "cv2" and cv2 is None:
        raise ConfigError(
            "backend cv2 needs OpenCV: pip install opencv-python-headless (or write backend: pil)"
        )
    return backend


def decode_image(data, to_rgb=True, backend="cv2", shrink=1):
    """Decode the bytes of an image file.

    Args:
        data: content of the file.
        to_rgb: RGB channel order; False gives BGR.
        backend: "cv2" or "pil".
        shrink: 2, 4 or 8 decodes a JPEG file at that part of its width and height, rounded up, which takes
            less time (libjpeg leaves fine coefficients out); for JPEG files only, see `jpeg_size`.

    Returns:
        uint8 array (H, W, 3).

    Raises:
        DataError: the reason why `data` is not a readable image, without a file name.
    """
    if cv2 is not None and _is_for_cv2(data, backend):
        image = _decode_cv2(data, shrink)
        if image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if to_rgb else image
    image = _decode_pil(data, shrink)
    return image if to_rgb else np.ascontiguousarray(image[:, :, ::-1])


def jpeg_size(data):
    """Return (width, height) of the upright picture in a JPEG file, from its header alone; None for other data.

    Of the segments of a file (ITU-T T.81, annex B) a start of frame holds the size of the stored picture, and
    "Exif" whether it has to be turned.
    """
    turned, start = False, 2
    while data[:2] == b"\xff\xd8" and start + 9 <= len(data) and data[start] == 0xFF:
        kind, length = data[start + 1], int.from_bytes(data[start + 2 : start + 4], "big")
        if kind in _STARTS_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, start + 5)
            return (height, width) if turned else (width, height)
        if data[start + 4 : start + 10] == b"Exif\0\0":
            turned = _exif_orientation(data[start + 10 : start + 2 + length]) >= 5
        start += 2 + length
    return None


def _exif_orientation(tiff):
    """Return the orientation 1..8 in the bytes of an Exif segment, 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == ExifTags.Base.Orientation:
                return value
    except struct.error:  # cut short
        pass
    return 1


def read_bytes(path):
    """Return the content of a file. Raises DataError naming `path`."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_image(path, to_rgb=True, backend="cv2"):
    """Read and decode one file, see `decode_image`. Raises DataError naming `path` and the reason."""
    data = read_bytes(path)
    try:
        return decode_image(data, to_rgb, backend)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def open_image(data):
    """Open the bytes of an image file with Pillow, which reads no more than the header here.

    Raises:
        NoFormatError: no format of the table, or one whose reader is not installed.
        TooManyPixelsError: its header says more than `MAX_PIXELS`.
        DataError: the header is damaged.
    """
    if not data:
        raise DataError("the file is empty (0 bytes)")
    form = format_of(data)
    if form is None:
        raise NoFormatError("not an image: no known format begins like this file")
    if not _has_reader(form.name):
        raise NoFormatError(f"{form.name} files need a reader that is not installed: {form.package}")
    with _reasons():
        try:
            return Image.open(io.BytesIO(data), formats=[form.name])
        except UnidentifiedImageError:
            raise DataError(
                f"the image begins like {form.name}, but is damaged, or of a kind that is not read here"
            ) from None


def _has_reader(name):
    if name not in Image.OPEN:
        Image.init()
    if name == "HEIF" and name not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            return False
        register_heif_opener()
    return name in Image.OPEN


@contextlib.contextmanager
def _reasons():
    """Turn what Pillow raises for a file that it cannot decode into a DataError."""
    try:
        yield
    except Image.DecompressionBombError:
        raise TooManyPixelsError(
            f"the image has more than {MAX_PIXELS:,} pixels, a guard against decompression bombs"
        ) from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"damaged image: {reason}") from None


def _is_for_cv2(data, backend):
    if data[:3] == b"\xff\xd8\xff":
        return backend == "cv2" and data[-2:] == b"\xff\xd9"
    complete_png = data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
    return complete_png and (backend == "cv2" or data[24:25] == b"\x10")  # IHDR's bit depth


def _decode_cv2(data, shrink):
    """Return BGR uint8 (H, W, 3), or None where OpenCV cannot decode `data`."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _CV2_FLAGS[shrink] | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    return image if image is None or image.dtype == np.uint8 else to_8_bits(image)


def _decode_pil(data, shrink):
    """Return RGB uint8 (H, W, 3). Raises DataError."""
    with open_image(data) as file, _reasons():
        bits, low = declared_bits(file), low_bytes(file, lambda: open_image(data))
        if shrink > 1:
            file.draft(None, (file.width // shrink, file.height // shrink))
        rgb = _upright_rgb(file, bits)
        if low is not None:
            return to_8_bits(rgb.astype(np.uint16) << 8 | _upright_rgb(low), bits)
        warn_of_black(rgb, file, data)
        return rgb


def from_pil(image):
    """Return a Pillow image as uint8 array (H, W, 3), RGB, by the rule above. Raises DataError with the reason."""
    with _reasons():
        return _upright_rgb(image)


def _upright_rgb(image, bits=None):
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return np.repeat(to_8_bits(np.asarray(image), bits)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise DataError("the image holds 32-bit floats; save it with 8 or 16 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way; the colours are the same
    return np.asarray(image.convert("RGB"))
