"""The last line of a terminal, redrawn in place while a loop runs."""

import contextlib
import os
import shutil
import time

_CLEAR = "\r\x1b[K"
_SECONDS_BETWEEN = 0.1
_WIDTH = 24


def is_terminal(stream):
    """Return whether a line of `stream` can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


class Bar:
    """A progress bar on the terminal `stream`; `hide()` before anything else is written, `redraw()` after it."""

    def __init__(self, stream):
        self._stream, self._text, self._drawn = stream, "", float("-inf")

    def show(self, title, done, total, note):
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

    def redraw(self):
        if self._text:
            self._write(_CLEAR + self._text)

    def hide(self):
        """Take the bar off the screen until `redraw()`."""
        if self._text:
            self._write(_CLEAR)

    def end(self):
        """Take the bar off the screen for good."""
        self.hide()
        self._text, self._drawn = "", float("-inf")

    def _write(self, text):
        # A terminal that is gone ends the bar, not the run; the log handler says so at its next line.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
