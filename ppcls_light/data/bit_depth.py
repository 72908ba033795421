"""Conversion of images with more than 8 bits per channel to 8 bits; `decode` documents the rule."""

from __future__ import annotations

import sys
from typing import Any, Callable

import numpy as np
from PIL import Image

from ..errors import DataError, warn_once

FULL = 16
_LOW_BITS = (8, 10, 12)  # the depths that are told from the values
_STUCK = 0.001  # of the values
_DARK_BITS = 14  # the high byte of these is dark, and not black
# TIFF 6.0: BitsPerSample, MaxSampleValue, PlanarConfiguration
_TIFF_BITS, _TIFF_LARGEST, _TIFF_PLANES = 258, 281, 284


def to_8_bits(values: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Return the highest 8 of the `bits` of integers, uint8 of the same shape.

    Where the file does not say them (None), they are 8, 10 or 12, if all values but one in a thousand are below 256,
    1024 or 4096, and 16 for all others. Raises DataError: a value is below 0 or above 65535.
    """
    largest = int(values.max())
    if values.min() < 0 or largest >= 1 << FULL:
        raise DataError("the image holds negative or 32-bit integers; save it with 8 or 16 bits per channel")
    if bits is None:
        # A few pixels of a sensor are stuck at white.
        bits = next(
            (low for low in _LOW_BITS if np.count_nonzero(values >> low) <= values.size * _STUCK), FULL
        )
        if bits < FULL:
            warn_once(
                f"a 16-bit picture uses only its low {bits} bits and is scaled by these; so is every one without a "
                "value above 4095, by 8, 10 or 12 bits (not said again)"
            )
        elif largest < 1 << _DARK_BITS:
            warn_once(
                f"a 16-bit picture has no value above {(1 << _DARK_BITS) - 1} and is read by its high byte: it stays "
                "dark; if its camera has 14 bits, multiply the values by 4 (not said again)"
            )
    shifted = values >> (bits - 8)
    return np.minimum(shifted, 255).astype(np.uint8)


def declared_bits(file: Image.Image) -> int | None:
    """Return the number of bits of a value of an opened image if its file says so, else None.

    Raises DataError: a TIFF file of a kind that Pillow reads wrongly.
    """
    if file.format == "TIFF":
        if file.tag_v2.get(_TIFF_PLANES) == 2 and max(file.tag_v2.get(_TIFF_BITS, (1,))) > 8:
            raise DataError(
                "the TIFF holds 16-bit colours in a plane each; save it with the colours of a pixel side by side"
            )
        of_tags = [min(file.tag_v2.get(_TIFF_BITS, (FULL,)))]
        largest = file.tag_v2.get(_TIFF_LARGEST, 0)
        of_tags.append(int(max(largest) if isinstance(largest, tuple) else largest).bit_length() or FULL)
        return max(8, min(of_tags)) if min(of_tags) < FULL else None
    if file.format == "PPM":
        codec, *_, args = file.tile[0]
        scaled = codec.startswith("ppm") and args[-1] < (1 << FULL) - 1  # by Pillow, to 16 bits
        return FULL if scaled else None
    return None


def low_bytes(file: Image.Image, reopen: Callable[[], Image.Image]) -> Image.Image | None:
    """Return `file` with the low bytes of 16-bit colours, of which Pillow reads the high ones.

    `file` is opened and not loaded; None if it has no 16-bit colours of red, green and blue.
    """
    _read_raw(file)
    if not any(_raw_mode(tile).startswith(("RGB;16", "RGBX;16", "RGBA;16")) for tile in file.tile or ()):
        return None
    low = reopen()
    _read_raw(low)
    low.tile = [_swapped(tile) for tile in low.tile]
    return low


def warn_of_black(rgb: np.ndarray, file: Image.Image, data: bytes) -> None:
    """Warn once about a 16-bit JPEG 2000 image that uses only its low bits and is nearly black at 8 bits."""
    # ITU-T T.800, A.5.1: the marker SIZ follows the start of the code stream; 42 bytes on, the bits of a value less 1.
    start = data.find(b"\xff\x4f\xff\x51") if file.format == "JPEG2000" else -1
    if start >= 0 and data[start + 42] & 0x7F >= 8 and rgb.max() < 1 << _LOW_BITS[-1] - 8:
        warn_once(
            f"a JPEG 2000 picture of {(data[start + 42] & 0x7F) + 1} bits per colour uses only its low ones and is "
            "nearly black; save it as PNG (not said again)"
        )


def _read_raw(file: Image.Image) -> None:
    """Let a PPM file of 16-bit colours be read as it is stored: Pillow's own reader rounds them to 8 bits."""
    if file.format == "PPM" and file.tile[0][0] == "ppm" and file.tile[0][3] == ("RGB", (1 << FULL) - 1):
        file.tile = [_changed(_changed(file.tile[0], 0, "raw"), 3, ("RGB;16B", 0, 1))]


def _raw_mode(tile: Any) -> str:
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) else args)


def _swapped(tile: Any) -> Any:
    """Return the tile of an image file with its byte order (B, L or the machine's, N) turned round."""
    mode = _raw_mode(tile)
    native = "L" if sys.byteorder == "little" else "B"
    order = native if mode[-1] == "N" else mode[-1]
    mode = mode[:-1] + {"L": "B", "B": "L"}[order]
    args = (mode, *tile[3][1:]) if isinstance(tile[3], tuple) else mode
    return _changed(tile, 3, args)


def _changed(tile: Any, place: int, value: Any) -> Any:
    fields = (*tile[:place], value, *tile[place + 1 :])
    return tile._make(fields) if hasattr(tile, "_make") else fields  # Pillow 10's tiles are plain tuples
