"""Limits of one image, the same for all tools; a server has smaller ones as settings."""

from ...errors import DataError

# Pillow's own bound for decompression bombs: 537 MB as RGB.
MAX_PIXELS = 178_956_970
# Of a file: as much as a picture at the bound above takes at 12 bits a pixel, which no photo needs.
MAX_BYTES = 1 << 28


class TooManyPixelsError(DataError):
    """An image of more than `MAX_PIXELS`."""

    def __init__(self, reason=None):
        super().__init__(
            reason or f"the image has more than {MAX_PIXELS:,} pixels, a guard against decompression bombs"
        )


def check_pixels(width, height):
    """Raise TooManyPixelsError for more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise TooManyPixelsError


def require_bytes(needed, there, width, height):
    """Raise DataError where a picture of this size takes more bytes than are there."""
    there = max(there, 0)
    if needed > there:
        raise DataError(
            f"damaged image: {width} x {height} pixels take {needed:,} bytes or more, and the file has {there:,}"
        )
