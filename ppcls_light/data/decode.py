"""Image decoding: bytes of an image file to an RGB array, with the same rules for OpenCV and Pillow.

| file | becomes |
|---|---|
| grey, 1 bit | the same value in R, G and B |
| RGBA, grey with alpha, transparent palette | alpha is dropped, colours stay as stored |
| palette | its colours |
| CMYK (JPEG, TIFF) | RGB without colour management |
| 16 bits per channel, all below 4096 | scaled by 8, 10 or 12 bits, whichever hold the largest value; said once |
| 16 bits per channel, others | the high byte |
| EXIF orientation | applied: the picture stands upright |
| several frames (GIF, TIFF) | the first one |
| cut short, empty, not of a format in `formats.FORMATS` | DataError with the reason |
| larger than `limits` allow, or than its bytes can be; a decoder gives up, whatever it raises | the same |

No claim of a file costs more than a picture of `limits.MAX_PIXELS`: `header` refuses impossible ones before a
decoder runs, and formats whose headers bound nothing are decoded in a process that is ended after a time
(`decoder_process`). Threads share the memory for their pictures (`limits.Room`).

Cameras of 10 and 12 bits store their values in the low bits of 16; the high byte of those is black. A file that
says its own range (TIFF's BitsPerSample and MaxSampleValue, the largest value of PGM and PPM) is scaled by that.

OpenCV decodes complete JPEG and PNG files (the rule above is its IMREAD_COLOR). All others, and animated PNG,
are Pillow's in both backends: OpenCV's treatment of them changes from version to version (4.6 fills a truncated
JPEG with grey in silence and ignores the orientation of WebP and TIFF, 5.0 answers a damaged animation with what
was in memory), and Pillow names the damage.
PNG files of 16 bits are OpenCV's in both, as Pillow reads the high byte of colours only.
"""

from __future__ import annotations

import contextlib
import io
from types import ModuleType
from typing import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..base.files import StrPath, read_plain
from ..errors import ConfigError, DataError
from .bit_depth import declared_bits, low_bytes, to_8_bits, warn_of_black
from .formats import Format, NoFormatError, format_of
from .guards.header import check_header, header_size, is_run_length, is_whole_png
from .guards.limits import MAX_BYTES, Room, TooManyPixelsError, check_pixels
from .opencv import opencv

# Formats whose headers bound the work; all others are decoded in a process that can be ended.
_BOUNDED = frozenset(("JPEG", "PNG", "WEBP", "BMP", "DIB"))
# Bytes for a pixel while it is decoded, with those of WebP's canvas and of JPEG's coefficients.
_CV2_MEMORY, _PIL_MEMORY = 10, 20
_ROOM = Room(1 << 30)


def check_backend(name: str) -> str:
    """Return the backend called `name` ("cv2" or "pil", any case). Raises ConfigError if it cannot be used."""
    backend = str(name).lower()
    if backend not in ("cv2", "pil"):
        raise ConfigError(f"backend '{name}' is unknown; use cv2 or pil")
    if backend == "cv2" and opencv() is None:
        raise ConfigError(
            "backend cv2 needs OpenCV: pip install opencv-python-headless (or write backend: pil)"
        )
    return backend


def decode_image(data: bytes, to_rgb: bool = True, backend: str = "cv2", shrink: int = 1) -> np.ndarray:
    """Decode the bytes of an image file by "cv2" or "pil": uint8 (H, W, 3), RGB, or BGR unless `to_rgb`.

    A `shrink` of 2, 4 or 8 decodes a JPEG file at that part of its width and height, rounded up, which takes less time
    (libjpeg leaves fine coefficients out); for JPEG files only, see `jpeg_size`.

    Raises DataError: the reason why it is not readable, without a file name.
    """
    form = _format_of(data)
    size, elsewhere = check_header(form.name, data), _runs_elsewhere(form, data)
    if elsewhere:
        size = _process().size_of(data)
    width, height = size or (0, 0)
    if size is not None and _is_for_cv2(data, backend) and opencv() is not None:
        with _ROOM.hold(_CV2_MEMORY * width * height):
            image = _decode_cv2(data, to_rgb, shrink)
            if image is not None:
                return image
    with _ROOM.hold(_PIL_MEMORY * width * height):
        picture = _process().decode(data) if elsewhere else decode_here(data, shrink)
    return picture if to_rgb else np.ascontiguousarray(picture[:, :, ::-1])


def _runs_elsewhere(form: Format, data: bytes) -> bool:
    return form.name not in _BOUNDED or is_run_length(form.name, data)


def _process() -> ModuleType:
    # Imported for the first such file: what starts processes takes as long to import as Pillow.
    from .guards import decoder_process

    return decoder_process


def image_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the bytes of an image file as stored, from its header.

    Raises:
        NoFormatError: no format of the table, or one whose reader is not installed.
        TooManyPixelsError: more than `limits.MAX_PIXELS`.
        DataError: the header is damaged, or its size impossible; see `header`.
    """
    form = _format_of(data)
    size = header_size(form.name, data)
    if _runs_elsewhere(form, data):
        return _process().size_of(data)
    if size is None:
        with open_image(data) as file:
            size = file.size
    return size


def read_bytes(path: StrPath) -> bytes:
    """Return the content of an image file.

    Raises DataError, with the path, if it cannot be read, is no ordinary file, or has more than `limits.MAX_BYTES`.
    """
    return read_plain(path, MAX_BYTES)


def read_image(path: StrPath, to_rgb: bool = True, backend: str = "cv2") -> np.ndarray:
    """Read and decode one file, see `decode_image`. Raises DataError naming `path` and the reason."""
    data = read_bytes(path)
    try:
        return decode_image(data, to_rgb, backend)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def open_image(data: bytes) -> Image.Image:
    """Open the bytes of an image file with Pillow, which reads no more than the header here.

    Raises:
        NoFormatError: no format of the table, or one whose reader is not installed.
        TooManyPixelsError: its header says more than `MAX_PIXELS`.
        DataError: the header is damaged.
    """
    form = _format_of(data)
    if not _has_reader(form.name):
        raise NoFormatError(f"{form.name} files need a reader that is not installed: {form.package}")
    with _reasons():
        try:
            image = Image.open(io.BytesIO(data), formats=[form.name])
        except UnidentifiedImageError:
            raise DataError(
                f"damaged image, or of a kind that is not read here: it begins like {form.name}"
            ) from None
        check_pixels(*image.size)  # Pillow's own check can be switched off
        return image


def _format_of(data: bytes) -> Format:
    if not data:
        raise DataError("the file is empty (0 bytes)")
    form = format_of(data)
    if form is None:
        raise NoFormatError("not an image: no known format begins like this file")
    return form


def _has_reader(name: str) -> bool:
    if name not in Image.OPEN:
        Image.preinit()  # the usual formats: all others take five times as long
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
def _reasons() -> Iterator[None]:
    """Turn any error of Pillow's for a file that it cannot decode into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixelsError from None
    except MemoryError:
        raise DataError("damaged image: to decode it takes more memory than a picture of its size") from None
    except Exception as error:  # decoders report damage by any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"damaged image: {reason}") from None


def _is_for_cv2(data: bytes, backend: str) -> bool:
    if data[:3] == b"\xff\xd8\xff":
        return backend == "cv2" and data[-2:] == b"\xff\xd9"
    if data[:4] != b"\x89PNG" or not (backend == "cv2" or data[24:25] == b"\x10"):  # IHDR's bit depth
        return False
    return is_whole_png(data)


def _decode_cv2(data: bytes, to_rgb: bool, shrink: int) -> np.ndarray | None:
    """Return uint8 (H, W, 3), RGB or BGR, or None where OpenCV cannot decode `data`."""
    cv2 = opencv()
    flags = getattr(cv2, "IMREAD_COLOR" if shrink == 1 else f"IMREAD_REDUCED_COLOR_{shrink}")
    decodes_rgb = to_rgb and hasattr(cv2, "IMREAD_COLOR_RGB")  # since 4.11: a pass over the pixels less
    if decodes_rgb:
        flags ^= cv2.IMREAD_COLOR | cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    if image is None:
        return None
    image = image if image.dtype == np.uint8 else to_8_bits(image)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if to_rgb and not decodes_rgb else image


def decode_here(data: bytes, shrink: int = 1) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) by Pillow in this process, whatever the format. Raises DataError."""
    with open_image(data) as file, _reasons():
        bits, low = declared_bits(file), low_bytes(file, lambda: open_image(data))
        if shrink > 1:
            file.draft(None, (file.width // shrink, file.height // shrink))
        rgb = _upright_rgb(file, bits)
        if low is not None:
            return to_8_bits(rgb.astype(np.uint16) << 8 | _upright_rgb(low), bits)
        warn_of_black(rgb, file, data)
        return rgb


def from_pil(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as uint8 array (H, W, 3), RGB, by the rule above. Raises DataError with the reason."""
    with _reasons():
        return _upright_rgb(image)


def _upright_rgb(image: Image.Image, bits: int | None = None) -> np.ndarray:
    image.load()  # PNG may have its orientation behind the pixels
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return np.repeat(to_8_bits(np.asarray(image), bits)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise DataError("the image holds 32-bit floats; save it with 8 or 16 bits per channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way; the colours are the same
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
