"""Main loop of the decoder subprocess (started by `decoder_process`), with limits on time and memory."""

from __future__ import annotations

import contextlib
import logging.handlers
import queue
import signal
from typing import Any, Callable, Iterator

import numpy as np

from ...base.processes import Caller
from ...errors import DataError, warn_once
from ..decode import decode_here, open_image
from .decoder_process import TIME_IS_UP, Budget

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None


def main() -> None:
    """Answer `decoder_process`, until that ends."""
    caller = Caller()
    for number in TIME_IS_UP:
        signal.signal(number, signal.SIG_DFL)
    if TIME_IS_UP:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TIME_IS_UP)
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
    """Limit time and memory in the block; yield a function that raises both limits for a number of pixels."""
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
