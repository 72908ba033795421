"""Limits on pixels and bytes per image, and on the total memory of concurrent decoding (`Room`)."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Iterator

from ...errors import DataError

# Pillow's own bound for decompression bombs: 537 MB as RGB.
MAX_PIXELS = 178_956_970
# Of a file: as much as a picture at the bound above takes at 12 bits per pixel, more than any photo needs.
MAX_BYTES = 1 << 28


class TooManyPixelsError(DataError):
    """An image of more than `MAX_PIXELS`."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(
            reason or f"the image has more than {MAX_PIXELS:,} pixels, a guard against decompression bombs"
        )


def check_pixels(width: int, height: int) -> None:
    """Raise TooManyPixelsError for more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise TooManyPixelsError


def require_bytes(needed: int, there: int, width: int, height: int) -> None:
    """Raise DataError where a picture of this size takes more bytes than are there."""
    there = max(there, 0)
    if needed > there:
        raise DataError(
            f"damaged image: {width} x {height} pixels take {needed:,} bytes or more, and the file has {there:,}"
        )


class Room:
    """Room for so many bytes; what is larger than all of it gets it alone.

    Ten pictures of 50 megapixels are 100 kB each as files, and a gigabyte each in a decoder.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._clear()
        if hasattr(os, "register_at_fork"):  # the threads that hold a part are not in the child
            os.register_at_fork(after_in_child=self._clear)

    def _clear(self) -> None:
        self._taken = 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until there is room for `size` bytes, in the order of the calls, and hold it until the block ends."""
        size = min(size, self._size)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify()
