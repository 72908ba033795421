"""JPEG header parsing (ITU-T T.81, annex B): image size, EXIF orientation and a limit on the scans."""

from __future__ import annotations

import re
import struct
from typing import Iterator

from PIL import ExifTags

from ...errors import DataError
from .limits import MAX_PIXELS, require_bytes

# libjpeg's progressive files have 10 scans, those of optimizers some more. A decoder goes over all coefficients in
# each one, a millisecond per megapixel: large pictures may have as many as take 3 seconds.
MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 16 * MAX_PIXELS

_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_ARITHMETIC = 0xC9  # from here on; such code may take less than a bit per block
# A block of 8 x 8 values takes a bit of Huffman code, and all components together have a quarter of the blocks.
_PIXELS_OF_BYTE = 8 * 64 * 4
_START_OF_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset((0x01, 0xD8))  # markers without a segment
# A marker behind bytes that are skipped: fill bytes, and pixels, whose FF is stored as FF 00, with restarts among them.
_MARKER = re.compile(rb"\xff+([^\0\xd0-\xd7\xff])", re.DOTALL)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of the upright picture in a JPEG file, from its header alone; None for other data.

    A start of frame holds the size of the stored picture, and "Exif" its orientation.
    """
    turned = False
    for kind, start, end in _segments(data):
        if kind in _STARTS_OF_FRAME:
            size = _frame_size(data, start)
            return (size[1], size[0]) if size is not None and turned else size
        if data[start : start + 6] == b"Exif\0\0":
            turned = _exif_orientation(data[start + 6 : end]) >= 5
    return None


def jpeg_frame_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of the stored picture in a JPEG file, None where a decoder will find none, either."""
    return next(
        (_frame_size(data, start) for kind, start, _ in _segments(data) if kind in _STARTS_OF_FRAME), None
    )


def check_jpeg(data: bytes, width: int, height: int) -> None:
    """Raise DataError for a JPEG file with too many scans, or too few bytes for (width, height)."""
    progressive, components = False, b""
    for kind, start, end in _segments(data):
        if kind in _STARTS_OF_FRAME and not components:
            if kind < _ARITHMETIC:
                require_bytes(width * height // _PIXELS_OF_BYTE, len(data), width, height)
            progressive, components = kind in _PROGRESSIVE, data[start + 5 : start + 6]
        # libjpeg goes by the same rule; of other files it decodes the first scan only.
        elif kind == _START_OF_SCAN and (progressive or data[start : start + 1] != components):
            _check_scans(data, end, width, height)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, start, end) of the content of each segment of a JPEG file, up to that of its first scan."""
    start = 2
    while data[:2] == b"\xff\xd8" and (marker := _MARKER.search(data, start)) is not None:
        kind, start = marker[1][0], marker.end()
        if kind == _END:
            return
        if kind not in _BARE:
            end = _segment_end(data, start)
            yield kind, start + 2, end
            start = end
        if kind == _START_OF_SCAN:
            return


def _segment_end(data: bytes, start: int) -> int:
    return start + max(2, int.from_bytes(data[start : start + 2], "big"))


def _frame_size(data: bytes, start: int) -> tuple[int, int] | None:
    try:
        height, width = struct.unpack_from(">HH", data, start + 1)
    except struct.error:  # cut short
        return None
    return width, height


def _check_scans(data: bytes, start: int, width: int, height: int) -> None:
    most = min(MAX_SCANS, _MAX_SCANNED_PIXELS // max(1, width * height))
    if data.count(b"\xff\xda", start) < most:  # so there are no more, whatever else these bytes may be
        return
    scans = 1
    while (marker := _MARKER.search(data, start)) is not None and marker[1][0] != _END:
        start = marker.end() if marker[1][0] in _BARE else _segment_end(data, marker.end())
        scans += marker[1][0] == _START_OF_SCAN
        if scans > most:
            raise DataError(
                f"the JPEG has more than {most} scans, a guard against files that take minutes; save it again"
            )


def _exif_orientation(tiff: bytes) -> int:
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
