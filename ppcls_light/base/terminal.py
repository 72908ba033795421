"""`Bar`: progress bar on a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import TextIO

_CLEAR = "\r\x1b[K"
_SECONDS_BETWEEN = 0.1
_WIDTH = 24


def is_terminal(stream: TextIO) -> bool:
    """Return whether a line of `stream` can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


class Bar:
    """Progress bar on the terminal `stream`; `hide()` before anything else is written, `redraw()` after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._text, self._drawn = stream, "", float("-inf")

    def show(self, title: str, done: int, total: int, note: str) -> None:
        """Draw `title [####----] done/total note`, cut to the width of the terminal, at most ten times a second."""
        now = time.monotonic()
        if now - self._drawn < _SECONDS_BETWEEN and done < total:
            return
        self._drawn = now
        filled = _WIDTH * done // total
        text = f"{title} [{'#' * filled}{'-' * (_WIDTH - filled)}] {done}/{total} {note}"
        # One column stays free: a full line would scroll in some terminals.
        self._text = text[: shutil.get_terminal_size().columns - 1]
        self.redraw()

    def redraw(self) -> None:
        if self._text:
            self._write(_CLEAR + self._text)

    def hide(self) -> None:
        """Take the bar off the screen until `redraw()`."""
        if self._text:
            self._write(_CLEAR)

    def end(self) -> None:
        """Take the bar off the screen for good."""
        self.hide()
        self._text, self._drawn = "", float("-inf")

    def _write(self, text: str) -> None:
        # A terminal that is gone ends the bar, not the run; the log handler says so at its next line.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
