"""Log lines in PaddleClas' format, and the progress bar that stands below them on a terminal."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import logging
import os
import sys
import time
from logging.handlers import MemoryHandler
from typing import Callable, Collection, Iterator, Mapping, TextIO

from ..base.terminal import NotebookBar, progress_bar
from ..errors import ConfigError, warn_once
from .position import Position

LOGGER = logging.getLogger("ppcls_light")
_FORMAT = logging.Formatter("[%(asctime)s] ppcls %(levelname)s: %(message)s", datefmt="%Y/%m/%d %H:%M:%S")

# Level of the lines, one per epoch, that a brief console has in the place of those of INFO; files have none of them.
BRIEF = 15
_is_brief = contextvars.ContextVar("brief", default=False)

# Marks a log line whose place the progress bar takes on a terminal; the log file has every line.
ON_BAR = {"on_bar": True}


def each_epoch(kind: str) -> dict[str, str]:
    """Return the mark of a log line that each epoch has, of a `kind`: a notebook shows the newest one alone."""
    return {"each_epoch": kind}


def setup_logging(
    path: str | None = None, rank: int = 0, ranks: Collection[int] = (0,), keep: bool = False
) -> None:
    """Log to stdout and append to `path`. Ranks that are not in `ranks` only give warnings and errors, on stderr.

    The file is rank 0's alone, and has every line whatever `ranks` are. With `keep` the lines wait in memory
    for the file that `log_to` will name: a run that may not begin leaves none in the log of the one before it.

    Raises ConfigError: `path` cannot be written.
    """
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.propagate = False
    brief = _is_brief.get()
    LOGGER.setLevel(BRIEF if brief else logging.INFO)
    console = _Console(sys.stdout if rank in ranks else sys.stderr)
    console.setLevel(LOGGER.level if rank in ranks else logging.WARNING)
    console.setFormatter(logging.Formatter("%(message)s") if brief else _FORMAT)
    if brief:
        console.addFilter(lambda record: record.levelno != logging.INFO)
    LOGGER.addHandler(console)
    if keep and rank == 0:
        kept = MemoryHandler(sys.maxsize, logging.CRITICAL + 1)
        kept.setLevel(logging.INFO)
        LOGGER.addHandler(kept)
    if path and rank == 0:
        LOGGER.addHandler(_open(path, _LogFile))


def log_to(path: str) -> None:
    """Append to `path` alone from now on, and first the lines that `setup_logging(keep=True)` has kept.

    Raises ConfigError: `path` cannot be written.
    """
    file = _open(path, _RunLog)
    for handler in list(LOGGER.handlers):
        if isinstance(handler, MemoryHandler):
            handler.setTarget(file)
        if isinstance(handler, (MemoryHandler, _RunLog)):
            LOGGER.removeHandler(handler)
            handler.close()  # which gives the target what was kept
    LOGGER.addHandler(file)


@contextlib.contextmanager
def logging_as_found() -> Iterator[None]:
    """Leave the log as it was found when the block ends: handlers that were added in it are closed."""
    before, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    try:
        yield
    finally:
        for handler in LOGGER.handlers:
            if handler not in before:
                handler.close()
        LOGGER.handlers[:] = before
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


@contextlib.contextmanager
def brief() -> Iterator[None]:
    """Let consoles that are set up in the block show warnings and the lines of `BRIEF`, without times and levels."""
    token = _is_brief.set(True)
    try:
        yield
    finally:
        _is_brief.reset(token)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Log nothing in the block, which tries out what is done again after it and then says everything itself."""
    level = LOGGER.level
    LOGGER.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        warn_once.cache_clear()


def _open(path: str, kind: type[_LogFile]) -> _LogFile:
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
        file = kind(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"Global.output_dir: {folder}: cannot be written: {error.strerror}; choose another folder"
        ) from None
    file.setFormatter(_FORMAT)
    file.setLevel(logging.INFO)
    return file


class _UntilLost(logging.StreamHandler):
    """Handler that leaves the log when its stream fails (a full disk, a pipe whose reader is gone)."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        problem = sys.exc_info()[1]
        if not isinstance(problem, OSError):
            super().handleError(record)
            return
        LOGGER.removeHandler(self)
        LOGGER.warning(
            "cannot log to %s: %s; the run goes on without", getattr(self.stream, "name", "a stream"), problem
        )


class _Console(_UntilLost):
    """Log lines on `stream`; on a terminal they scroll above a progress bar.

    In a notebook those of each epoch take the place of the last epoch's.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.bar = progress_bar(stream)

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, "each_epoch", None)
        if self.bar is None:
            super().emit(record)
        elif kind is not None and isinstance(self.bar, NotebookBar):
            self.bar.line(kind, record.getMessage())
        elif not getattr(record, "on_bar", False):
            self.bar.hide()
            super().emit(record)
            self.bar.redraw()


class _LogFile(logging.FileHandler, _UntilLost):
    pass


class _RunLog(_LogFile):
    """Log of a training run, from `log_to`."""


@contextlib.contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """Yield a function `show(title, done, total, values, timer, remaining_steps)` for each step of a loop.

    It draws a progress bar on a terminal and nothing elsewhere; the bar is gone when the block ends.
    """
    bars = (getattr(handler, "bar", None) for handler in LOGGER.handlers)
    bar = next(filter(None, bars), None)

    def show(
        title: str, done: int, total: int, values: Mapping[str, float], timer: StepTimer, remaining_steps: int
    ) -> None:
        if bar is not None:
            note = f"{timer.images_per_second:.1f} images/s, eta {_eta(timer, remaining_steps)}"
            bar.show(title, done, total, f"{note}, data wait {timer.data_share:.0%}, {format_values(values)}")

    try:
        yield show
    finally:
        if bar is not None:
            bar.end()


class StepTimer:
    """Wall time of a loop, split into waiting for data and the rest.

    Call `data_ready()` when a batch has arrived and `step_done(images)` when it has been used. The first
    `warmup` steps, which build kernels and start workers, do not count once later ones exist.
    """

    def __init__(self, warmup: int = 2) -> None:
        self._warmup = warmup
        self._steps = 0
        self._reset()
        self._mark = time.perf_counter()

    def _reset(self) -> None:
        self._counted = self._images = 0
        self._data = self._total = 0.0

    def data_ready(self) -> None:
        self._wait = time.perf_counter() - self._mark

    def step_done(self, images: int) -> None:
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
    def batch_cost(self) -> float:
        """Mean seconds per step."""
        return self._total / self._counted

    @property
    def reader_cost(self) -> float:
        """Mean seconds per step spent waiting for its batch."""
        return self._data / self._counted

    @property
    def images_per_second(self) -> float:
        return self._images / max(self._total, 1e-9)

    @property
    def data_share(self) -> float:
        """Share of the time, 0 to 1, spent waiting for data."""
        return self._data / max(self._total, 1e-9)


def format_values(values: Mapping[str, float]) -> str:
    """Return "name: 0.12345, ..." as PaddleClas prints metrics and losses."""
    return ", ".join(f"{name}: {value:.5f}" for name, value in values.items())


def _eta(timer: StepTimer, remaining_steps: int) -> datetime.timedelta:
    return datetime.timedelta(seconds=int(timer.batch_cost * remaining_steps))


def train_line(
    at: Position, epochs: int, schedule_name: str, lr: float, values: Mapping[str, float], timer: StepTimer
) -> str:
    """Return one `[Train]` line, of the batch at `at`."""
    remaining = epochs * at.batches_per_epoch - at.batches_before
    return (
        f"[Train][Epoch {at.epoch + 1}/{epochs}][Iter: {at.batch}/{at.batches_per_epoch}]"
        f"lr({schedule_name}): {lr:.8f}, {format_values(values)}, batch_cost: {timer.batch_cost:.5f}s, "
        f"reader_cost: {timer.reader_cost:.5f}, ips: {timer.images_per_second:.5f} samples/s, "
        f"eta: {_eta(timer, remaining)}, data wait: {timer.data_share:.0%}"
    )


def eval_line(epoch: int, step: int, steps: int, values: Mapping[str, float], timer: StepTimer) -> str:
    """Return one `[Eval]` line."""
    return (
        f"[Eval][Epoch {epoch}][Iter: {step}/{steps}]{format_values(values)}, "
        f"batch_cost: {timer.batch_cost:.5f}s, reader_cost: {timer.reader_cost:.5f}, "
        f"ips: {timer.images_per_second:.5f} images/sec"
    )
