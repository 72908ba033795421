"""PNG files (W3C PNG, third edition) by their chunks: whether the bytes are there that they speak of."""

import struct

from ...errors import DataError
from .limits import require_bytes

# Encoders write 8 kB a chunk or more; each costs a decoder microseconds, however empty it is.
MAX_CHUNKS = 100_000

_SUMS = 8  # bytes at the end of IDAT that are no pixels: the sums of Deflate and of the chunk
_DEFLATE = 1032  # bytes that a byte of Deflate (RFC 1951) becomes at most: 258 come from 2 bits
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type


def png_size(data):
    """Return (width, height) of a PNG file. Raises struct.error where it ends before."""
    return struct.unpack_from(">II2B", data, 16)[:2]


def check_png(data, width, height):
    """Check a PNG file of this size.

    Raises:
        DataError: more pixels than its bytes can hold, pixels that are said to go on behind the end of the file, or
            more than `MAX_CHUNKS`.
    """
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


def is_whole_still(data):
    """Return whether a PNG file has all of its chunks, and no animation: OpenCV trusts what it is told of both."""
    ends = {kind: end for kind, end, _ in _chunks(data)}
    return b"acTL" not in ends and ends.get(b"IEND", len(data) + 1) <= len(data)


def _chunks(data):
    """Yield (kind, where it ends, bytes of its content) for each chunk that begins in `data`, up to IEND."""
    start, kind = 8, None
    while start + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, start)
        start += 12 + length
        yield kind, start, length
