"""Log lines in PaddleClas' format, and the progress bar that stands below them on a terminal."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import shutil
import sys
import time

from ..errors import ConfigError

LOGGER = logging.getLogger("ppcls_light")
_FORMAT = logging.Formatter("[%(asctime)s] ppcls %(levelname)s: %(message)s", datefmt="%Y/%m/%d %H:%M:%S")

# Marks a log line whose place the progress bar takes on a terminal; the log file has every line.
ON_BAR = {"on_bar": True}
_CLEAR = "\r\x1b[K"
_SECONDS_BETWEEN = 0.1
_WIDTH = 24


def setup_logging(path=None, rank=0, ranks=(0,), keep=False):
    """Log to stdout and append to `path`. Ranks that are not in `ranks` only give warnings and errors, on stderr.

    The file is rank 0's alone, and has every line whatever `ranks` are. With `keep` the lines are kept for the
    file that `log_to` will name.

    Raises:
        ConfigError: `path` cannot be written.
    """
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO)
    handlers = [_Console(sys.stdout if rank in ranks else sys.stderr)]
    handlers[0].setLevel(logging.INFO if rank in ranks else logging.WARNING)
    if keep and rank == 0:
        handlers.append(_Kept())
    if path and rank == 0:
        handlers.append(_open(path, _LogFile))
    for handler in handlers:
        handler.setFormatter(_FORMAT)
        LOGGER.addHandler(handler)


def log_to(path):
    """Append to `path` from now on, and first the lines that `setup_logging(keep=True)` has kept.

    What an earlier call named gets no more.

    Raises:
        ConfigError: `path` cannot be written.
    """
    file = _open(path, _RunLog)
    file.setFormatter(_FORMAT)
    for handler in list(LOGGER.handlers):
        if isinstance(handler, _Kept):
            for record in handler.records:
                file.handle(record)
        if isinstance(handler, (_Kept, _RunLog)):
            LOGGER.removeHandler(handler)
            handler.close()
    LOGGER.addHandler(file)


def _open(path, kind):
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
        return kind(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"Global.output_dir: {folder}: cannot be written: {error.strerror}; choose another folder"
        ) from None


class _Kept(logging.Handler):
    """Records in memory: a run that may not begin leaves no line in the log of the one before it."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


class _UntilLost:
    """Where log lines go until it fails (a full disk, a pipe whose reader is gone): that does not end a run."""

    def handleError(self, record):  # noqa: N802 - logging's name
        problem = sys.exc_info()[1]
        if not isinstance(problem, OSError):
            super().handleError(record)
            return
        LOGGER.removeHandler(self)
        LOGGER.warning(
            "cannot log to %s: %s; the run goes on without", getattr(self.stream, "name", "a stream"), problem
        )


class _Console(_UntilLost, logging.StreamHandler):
    """Log lines on `stream`; on a terminal they scroll above a progress bar."""

    def __init__(self, stream):
        super().__init__(stream)
        self.bar = Bar(stream) if is_terminal(stream) else None

    def emit(self, record):
        if self.bar is None:
            super().emit(record)
        elif not getattr(record, "on_bar", False):
            self.bar.hide()
            super().emit(record)
            self.bar.redraw()


class _LogFile(_UntilLost, logging.FileHandler):
    pass


class _RunLog(_LogFile):
    """The log of a training run, from `log_to`."""


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


def terminal_bar():
    """Return the progress bar of the terminal that the log goes to, or None where it goes to none."""
    bars = (getattr(handler, "bar", None) for handler in LOGGER.handlers)
    return next((bar for bar in bars if bar is not None), None)


@contextlib.contextmanager
def progress():
    """Give a function `show(title, done, total, values, timer, remaining_steps)` for each step of a loop.

    It draws a progress bar on a terminal and nothing elsewhere; the bar is gone when the block ends.
    """
    bar = terminal_bar()

    def show(title, done, total, values, timer, remaining_steps):
        if bar is not None:
            note = f"{timer.images_per_second:.1f} images/s, eta {_eta(timer, remaining_steps)}"
            bar.show(title, done, total, f"{note}, data wait {timer.data_share:.0%}, {format_values(values)}")

    try:
        yield show
    finally:
        if bar is not None:
            bar.end()


class StepTimer:
    """Splits the wall time of a loop into waiting for data and the rest.

    Call `data_ready()` when a batch has arrived and `step_done(images)` when it has been used. The first
    `warmup` steps, which build kernels and start workers, do not count once later ones exist.
    """

    def __init__(self, warmup=2):
        self._warmup = warmup
        self._steps = 0
        self._reset()
        self._mark = time.perf_counter()

    def _reset(self):
        self._counted = self._images = 0
        self._data = self._total = 0.0

    def data_ready(self):
        self._wait = time.perf_counter() - self._mark

    def step_done(self, images):
        now = time.perf_counter()
        if self._steps == self._warmup:
            self._reset()
        self._steps += 1
        self._counted += 1
        self._images += images
        self._data += self._wait
        self._total += now - self._mark
        self._mark = now

    @property
    def batch_cost(self):
        """Mean seconds a step."""
        return self._total / self._counted

    @property
    def reader_cost(self):
        """Mean seconds a step spent waiting for its batch."""
        return self._data / self._counted

    @property
    def images_per_second(self):
        return self._images / max(self._total, 1e-9)

    @property
    def data_share(self):
        """Share of the time, 0 to 1, spent waiting for data."""
        return self._data / max(self._total, 1e-9)


def format_values(values):
    """Return "name: 0.12345, ..." as PaddleClas prints metrics and losses."""
    return ", ".join(f"{name}: {value:.5f}" for name, value in values.items())


def _eta(timer, remaining_steps):
    return datetime.timedelta(seconds=int(timer.batch_cost * remaining_steps))


def train_line(epoch, epochs, step, steps, schedule_name, lr, values, timer, remaining_steps):
    """Return one `[Train]` line; `remaining_steps` of the whole run give the eta."""
    eta = _eta(timer, remaining_steps)
    return (
        f"[Train][Epoch {epoch}/{epochs}][Iter: {step}/{steps}]lr({schedule_name}): {lr:.8f}, "
        f"{format_values(values)}, batch_cost: {timer.batch_cost:.5f}s, reader_cost: {timer.reader_cost:.5f}, "
        f"ips: {timer.images_per_second:.5f} samples/s, eta: {eta}, data wait: {timer.data_share:.0%}"
    )


def eval_line(epoch, step, steps, values, timer):
    """Return one `[Eval]` line."""
    return (
        f"[Eval][Epoch {epoch}][Iter: {step}/{steps}]{format_values(values)}, "
        f"batch_cost: {timer.batch_cost:.5f}s, reader_cost: {timer.reader_cost:.5f}, "
        f"ips: {timer.images_per_second:.5f} images/sec"
    )
