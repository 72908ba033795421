"""Sizes that the header of an image file claims, against the bytes that are there; no decoder has run by then.

Decoders believe what a file says of itself: 97 bytes can ask for 2 GB, and half a megabyte for a minute. Of the
formats that are decoded in this process all sizes that cost memory or time are read here first:

| format | refused | source |
|---|---|---|
| all of these | more than `limits.MAX_PIXELS` pixels | |
| JPEG | more scans than `jpeg.MAX_SCANS`, or fewer where they are large; fewer bytes than such a picture has | T.81 |
| PNG | pixels behind the end of the file, more chunks than `png.MAX_CHUNKS`, fewer bytes than Deflate needs | W3C PNG |
| BMP, DIB | fewer bytes than the rows have | BITMAPINFOHEADER |

It takes microseconds: of the pixels no byte is looked at, but for JPEG files of several scans, whose markers are
counted. Frames need no limit, as only the first one is decoded; in WebP it fills the canvas (RFC 9649).
"""

import struct

from .jpeg import check_jpeg, jpeg_frame_size
from .limits import check_pixels, require_bytes
from .png import check_png, png_size

_UNCOMPRESSED = (0, 3)  # BI_RGB, BI_BITFIELDS


def header_size(name, data):
    """Return the size of the picture as the header of a file has it.

    Args:
        name: of its format, see `formats.FORMATS`.
        data: content of the file.

    Returns:
        (width, height) as stored; None for formats that are not in the table above, and where a decoder will find no
        size, either.

    Raises:
        TooManyPixelsError: more than `limits.MAX_PIXELS`.
    """
    try:
        size = _SIZES[name](data) if name in _SIZES else None
    except struct.error:  # cut short
        return None
    if size is not None:
        check_pixels(*size)
    return size


def check_header(name, data):
    """Return what `header_size` does. Raises DataError, too, for a file that cannot be so, or takes too long."""
    size = header_size(name, data)
    if size is not None and name in _CHECKS:
        _CHECKS[name](data, *size)
    return size


def is_run_length(name, data):
    """Return whether the rows of a BMP or DIB file are compressed: Pillow reads them by a loop in Python."""
    start = 14 if name == "BMP" else 0
    if name not in ("BMP", "DIB") or data[start] == 12:
        return False
    return int.from_bytes(data[start + 16 : start + 20], "little") not in _UNCOMPRESSED


def _webp_size(data):
    kind = data[12:16]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return None


def _bmp_size(data, start=14):
    (head,) = struct.unpack_from("<I", data, start)
    width, height, *_ = struct.unpack_from("<4H" if head == 12 else "<ii2H", data, start + 4)
    return abs(width), abs(height)


def _check_bmp(data, width, height, name="BMP", start=14):
    if height and not is_run_length(name, data):
        (head,) = struct.unpack_from("<I", data, start)
        (bits,) = struct.unpack_from("<H", data, start + (10 if head == 12 else 14))
        row = (width * bits + 7) // 8
        rows = (row + 3) // 4 * 4 * (height - 1) + row  # each but the last one is filled up to 4 bytes
        require_bytes(rows, len(data) - start - head, width, height)


_SIZES = {
    "JPEG": jpeg_frame_size,
    "PNG": png_size,
    "WEBP": _webp_size,
    "BMP": _bmp_size,
    "DIB": lambda data: _bmp_size(data, 0),
}
_CHECKS = {
    "JPEG": check_jpeg,
    "PNG": check_png,
    "BMP": _check_bmp,
    "DIB": lambda data, width, height: _check_bmp(data, width, height, "DIB", 0),
}
