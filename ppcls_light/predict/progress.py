"""Progress of a long run, a line every few seconds."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import TextIO

TERMINAL_SECONDS = 5
LOG_SECONDS = 60  # where somebody reads the lines later


class Progress:
    """Lines "1,200 of 50,000 images, 7 failed, 240.0 images/s, 0:03:23 to go" on `stream`.

    The rate is that of images with a class; without one there is none.

    Args:
        count: function that returns how many images there are; called at the first line.
        done: images that are not this run's work.
        stream: gets the lines; None: nobody does.
    """

    def __init__(self, count: Callable[[], int], done: int, stream: TextIO | None):
        self._count, self._before, self._stream = count, done, stream
        self._total: int | None = None
        self._began = self._said = time.monotonic()
        self._seconds = TERMINAL_SECONDS if stream is not None and stream.isatty() else LOG_SECONDS

    def note(self, done: int, failed: int = 0) -> None:
        """Note that `done` images have rows, of this run `failed` with an error; most calls print nothing."""
        now = time.monotonic()
        if self._stream is None or now - self._said < self._seconds:
            return
        self._said = now
        if self._total is None:
            self._total = self._count()
        new, seconds = done - self._before, now - self._began
        left = datetime.timedelta(seconds=round((self._total - done) * seconds / new))
        parts = [
            f"{done:,} of {self._total:,} images",
            f"{failed:,} failed",
            speed(new - failed, seconds),
            f"{left} to go",
        ]
        print(
            ", ".join(part for part in parts if part not in ("0 failed", "")), file=self._stream, flush=True
        )


def speed(classified: int, seconds: float) -> str:
    """Return "240.0 images/s", "" where no image was classified: the rate of failures is no speed."""
    return f"{classified / seconds:.1f} images/s" if classified else ""
