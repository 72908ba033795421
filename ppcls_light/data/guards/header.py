"""Checks of the image size in a file's header against the file's length, before any decoder runs.

Decoders believe a file's claims: 97 bytes can ask for 2 GB, and half a megabyte for a minute. Of the
formats that are decoded in this process all sizes that cost memory or time are read here first:

| format | refused | source |
|---|---|---|
| all of these | more than `limits.MAX_PIXELS` pixels | |
| JPEG | more scans than `jpeg.MAX_SCANS`, or fewer where they are large; fewer bytes than such a picture has | T.81 |
| PNG | pixels behind the end of the file, more chunks than `MAX_CHUNKS`, fewer bytes than Deflate needs | W3C PNG |
| BMP, DIB | fewer bytes than the rows have | BITMAPINFOHEADER |

It takes microseconds: of the pixels no byte is looked at, but for JPEG files of several scans, whose markers are
counted. Frames need no limit, as only the first one is decoded; in WebP it fills the canvas (RFC 9649).
"""

from __future__ import annotations

import struct
from typing import Callable, Iterator

from ...errors import DataError
from .jpeg import check_jpeg, jpeg_frame_size
from .limits import check_pixels, require_bytes

# Encoders write 8 kB per chunk or more; each costs a decoder microseconds, however empty it is.
MAX_CHUNKS = 100_000

_SUMS = 8  # bytes at the end of IDAT that are no pixels: the sums of Deflate and of the chunk
_DEFLATE = 1032  # bytes that a byte of Deflate (RFC 1951) becomes at most: 258 come from 2 bits
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type

_UNCOMPRESSED = (0, 3)  # BI_RGB, BI_BITFIELDS


def header_size(name: str, data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of the picture as the header of a file of the format `name` has it.

    None for formats that are not in the table above, and where a decoder will find no size, either. Raises
    TooManyPixelsError for more than `limits.MAX_PIXELS`.
    """
    try:
        size = _SIZES[name](data) if name in _SIZES else None
    except struct.error:  # cut short
        return None
    if size is not None:
        check_pixels(*size)
    return size


def check_header(name: str, data: bytes) -> tuple[int, int] | None:
    """Return `header_size`; raise DataError if the file is too short for that size or too costly to decode."""
    size = header_size(name, data)
    if size is not None and name in _CHECKS:
        _CHECKS[name](data, *size)
    return size


def is_run_length(name: str, data: bytes) -> bool:
    """Return whether the rows of a BMP or DIB file are compressed: Pillow reads them by a loop in Python."""
    start = 14 if name == "BMP" else 0
    if name not in ("BMP", "DIB") or data[start] == 12:
        return False
    return int.from_bytes(data[start + 16 : start + 20], "little") not in _UNCOMPRESSED


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp_size(data: bytes, start: int = 14) -> tuple[int, int]:
    (head,) = struct.unpack_from("<I", data, start)
    width, height, *_ = struct.unpack_from("<4H" if head == 12 else "<ii2H", data, start + 4)
    return abs(width), abs(height)


def _check_bmp(data: bytes, width: int, height: int, name: str = "BMP", start: int = 14) -> None:
    if height and not is_run_length(name, data):
        (head,) = struct.unpack_from("<I", data, start)
        (bits,) = struct.unpack_from("<H", data, start + (10 if head == 12 else 14))
        row = (width * bits + 7) // 8
        rows = (row + 3) // 4 * 4 * (height - 1) + row  # each but the last one is filled up to 4 bytes
        require_bytes(rows, len(data) - start - head, width, height)


def _png_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a PNG file. Raises struct.error where it ends before."""
    return struct.unpack_from(">II2B", data, 16)[:2]  # whole, with the bytes that `_check_png` reads


def _check_png(data: bytes, width: int, height: int) -> None:
    """Raise DataError for more pixels than there are bytes for, or behind the end, and for more than `MAX_CHUNKS`."""
    compressed = count = 0
    for count, (kind, end, length) in enumerate(_chunks(data), 1):
        if count > MAX_CHUNKS:
            raise DataError(f"the PNG has more than {MAX_CHUNKS:,} chunks; save it again")
        if kind == b"IDAT":
            if end > len(data) + _SUMS:
                raise DataError(
                    f"damaged image: cut short; its pixels end at byte {end:,}, and the file at {len(data):,}"
                )
            compressed += length
    depth, colour = data[24:26]
    rows = height * ((width * depth * _SAMPLES.get(colour, 1) + 7) // 8)
    require_bytes(rows // _DEFLATE, compressed, width, height)


def is_whole_png(data: bytes) -> bool:
    """Return whether a PNG file is complete and not animated; OpenCV does not check this itself."""
    ends = {kind: end for kind, end, _ in _chunks(data)}
    return b"acTL" not in ends and ends.get(b"IEND", len(data) + 1) <= len(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, where it ends, bytes of its content) for each chunk that begins in `data`, up to IEND."""
    start, kind = 8, None
    while start + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, start)
        start += 12 + length
        yield kind, start, length


_SIZES: dict[str, Callable[[bytes], tuple[int, int] | None]] = {
    "JPEG": jpeg_frame_size,
    "PNG": _png_size,
    "WEBP": _webp_size,
    "BMP": _bmp_size,
    "DIB": lambda data: _bmp_size(data, 0),
}
_CHECKS: dict[str, Callable[[bytes, int, int], None]] = {
    "JPEG": check_jpeg,
    "PNG": _check_png,
    "BMP": _check_bmp,
    "DIB": lambda data, width, height: _check_bmp(data, width, height, "DIB", 0),
}
