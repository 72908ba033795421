"""Decoding in another process that is killed when an image takes too much time or memory.

Libraries of formats such as AVIF, TIFF and JPEG 2000 can be neither stopped nor trusted to end, and no header bounds
their work. A process is started when it is first needed, serves one image at a time and is kept for the next one;
as many run as threads ask at once. A process that an image ends costs that image, and nothing else.

Where the system has no such limits (Windows), the process still keeps a crash to itself.
"""

from __future__ import annotations

import atexit
import contextlib
import logging.handlers
import os
import queue
import signal
import subprocess
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

from ...base.processes import Caller, Child, ProcessEndedError
from ...errors import DataError, warn_once
from ..formats import NoFormatError
from .limits import TooManyPixelsError

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None


class Budget(NamedTuple):
    """Bounds of an image, and of each pixel more that its header says.

    Attributes:
        seconds, seconds_of_pixel: of processor time, so that a busy machine loses no image; by the clock ten times
            as long. The slowest readers are loops in Python, a fifth of a microsecond per pixel.
        memory, memory_of_pixel: bytes. Colours of 16 bits take the most.
    """

    seconds: float = 10
    seconds_of_pixel: float = 4e-7
    memory: int = 512 << 20
    memory_of_pixel: int = 48


BUDGET = Budget()
_TIME_IS_UP = [getattr(signal, name) for name in ("SIGPROF", "SIGALRM") if hasattr(signal, name)]
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # their stacks are memory, too
_idle: list[Child] = []
_ERRORS = {kind.__name__: kind for kind in (DataError, NoFormatError, TooManyPixelsError)}


def size_of(data: bytes) -> tuple[int, int]:
    """Return (width, height) of an image file from its bytes. Raises DataError, see `decode.open_image`."""
    width, height = _ask("size", data)[0]["size"]
    return width, height


def decode(data: bytes) -> np.ndarray:
    """Return the picture in the bytes of an image file, uint8 RGB (H, W, 3). Raises DataError with the reason."""
    answer, (pixels,) = _ask("decode", data)
    return np.frombuffer(pixels, np.uint8).reshape(answer["shape"]).copy()  # that can be written to


def _ask(task: str, data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    process = _take()
    try:
        process.send([task, BUDGET], data)
        answer, pixels = process.receive()
    except ProcessEndedError as end:
        process.close()
        raise DataError(_reason(end.code)) from None
    except BaseException:  # Ctrl-C, too: half an answer may be on its way
        process.close()
        raise
    _idle.append(process)
    for line in answer["warnings"]:
        warn_once(line)
    if "error" in answer:
        raise _ERRORS[answer["kind"]](answer["error"])
    return answer, pixels


def _take() -> Child:
    with contextlib.suppress(IndexError):
        while True:
            process = _idle.pop()
            if process.runs:
                return process
            process.close()
    try:
        return Child(__name__, _ENVIRONMENT, subprocess.DEVNULL)
    except OSError as error:
        raise DataError(f"no process can be started to decode it: {error.strerror or error}") from None


def _reason(code: int | None) -> str:
    if code in [-number for number in _TIME_IS_UP]:
        return "damaged image: to decode it takes more time than a picture of its size"
    return f"damaged image: its decoder crashed (exit code {code})"


def _close_all() -> None:
    while _idle:
        _idle.pop().close()


def _forget_all() -> None:
    while _idle:
        _idle.pop().forget()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def main() -> None:
    """Answer what `_ask` asks, until the caller ends."""
    caller = Caller()
    for number in _TIME_IS_UP:
        signal.signal(number, signal.SIG_DFL)
    if _TIME_IS_UP:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TIME_IS_UP)
    heard: queue.SimpleQueue = queue.SimpleQueue()
    logger = logging.getLogger("ppcls_light")
    logger.addHandler(logging.handlers.QueueHandler(heard))
    logger.propagate = False
    while True:
        (task, budget), (data,) = caller.receive()
        warn_once.cache_clear()  # the caller says it once
        try:
            answer, pixels = _answer(task, data, Budget(*budget))
        except DataError as error:
            answer, pixels = {"error": str(error), "kind": type(error).__name__}, []
        warnings = [heard.get().getMessage() for _ in range(heard.qsize())]
        caller.send({**answer, "warnings": warnings}, *pixels)


def _answer(task: str, data: bytes, budget: Budget) -> tuple[dict[str, Any], list[np.ndarray]]:
    from ..decode import decode_here, open_image

    with _limits(budget) as allow:
        with open_image(data) as file:
            size = file.size
        if task == "size":
            return {"size": size}, []
        allow(size[0] * size[1])
        pixels = np.ascontiguousarray(decode_here(data))
        return {"shape": pixels.shape}, [pixels]


@contextlib.contextmanager
def _limits(budget: Budget) -> Iterator[Callable[[int], None]]:
    """Bound time and memory in the block; it gets a function that grants those of so many pixels."""
    if resource is None:
        yield lambda pixels: None
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)

    def allow(pixels: int) -> None:
        # The signal at the end of a timer ends the process, in a library, too.
        seconds = budget.seconds + budget.seconds_of_pixel * pixels
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
        most = _data_size() + budget.memory + budget.memory_of_pixel * pixels
        if before[1] == resource.RLIM_INFINITY or most < before[1]:
            resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))

    allow(0)
    try:
        yield allow
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_size() -> int:
    """Return the bytes that count for RLIMIT_DATA."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[5]) * resource.getpagesize()
    except (OSError, IndexError):  # not Linux
        return 1 << 30


if __name__ == "__main__":
    main()
