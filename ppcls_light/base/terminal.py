"""Progress bars, on a terminal (`Bar`) and below a cell of a notebook (`NotebookBar`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any, TextIO

_CLEAR = "\r\x1b[K"
_SECONDS_BETWEEN, _SECONDS_IN_NOTEBOOK = 0.1, 0.5
_WIDTH = 24


def is_terminal(stream: TextIO) -> bool:
    """Return whether a line of `stream` can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def progress_bar(stream: TextIO) -> Bar | NotebookBar | None:
    """Return a progress bar where `stream` leads to a terminal or a notebook, None elsewhere."""
    if is_terminal(stream):
        return Bar(stream)
    return NotebookBar() if type(stream).__module__ == "ipykernel.iostream" else None


def _drawn(title: str, done: int, total: int, note: str) -> str:
    filled = _WIDTH * done // total
    return f"{title} [{'#' * filled}{'-' * (_WIDTH - filled)}] {done}/{total} {note}"


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
        # One column stays free: a full line would scroll in some terminals.
        self._text = _drawn(title, done, total, note)[: shutil.get_terminal_size().columns - 1]
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


class NotebookBar:
    """Progress below a cell of a notebook: a line of each kind, redrawn in one place; the last ones stay there.

    Other output stands beside it, so that there is nothing to hide.
    """

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._handle: Any = None
        self._shown = float("-inf")

    def show(self, title: str, done: int, total: int, note: str) -> None:
        """Draw `title [####----] done/total note`, at most twice a second; the first word of the title is the kind."""
        now = time.monotonic()
        self._lines[title.split()[0]] = _drawn(title, done, total, note)
        if now - self._shown >= _SECONDS_IN_NOTEBOOK or done == total:
            self._shown = now
            self.redraw()

    def line(self, kind: str, text: str) -> None:
        """Show `text` in place of the last line of this kind."""
        self._lines[kind] = text
        self.redraw()

    def redraw(self) -> None:
        from IPython.display import display

        shown = {"text/plain": "\n".join(self._lines.values())}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def hide(self) -> None:
        pass

    def end(self) -> None:
        pass
