"""Client of the decoder subprocess: decoding that is killed when it takes too much time or memory.

Libraries of formats such as AVIF, TIFF and JPEG 2000 can be neither stopped nor trusted to end, and no header bounds
their work. A process is started when it is first needed, serves one image at a time and is kept for the next one;
as many run as threads ask at once. A process that an image ends costs that image, and nothing else. It runs `decoder`.

Where the system has no such limits (Windows), the process still keeps a crash to itself.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
from typing import Any, NamedTuple

import numpy as np

from ...base.processes import Child, ProcessEndedError
from ...errors import DataError, warn_once
from ..formats import NoFormatError
from .limits import TooManyPixelsError


class Budget(NamedTuple):
    """Bounds of an image, and of each pixel more that its header says."""

    # Processor time, so that a busy machine loses no image; by the clock ten times as long. The slowest readers are
    # loops in Python, a fifth of a microsecond per pixel.
    seconds: float = 10
    seconds_of_pixel: float = 4e-7
    memory: int = 512 << 20  # bytes
    memory_of_pixel: int = 48  # colours of 16 bits take the most


BUDGET = Budget()
TIME_IS_UP = [getattr(signal, name) for name in ("SIGPROF", "SIGALRM") if hasattr(signal, name)]
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
        return Child(f"{__package__}.decoder", _ENVIRONMENT, subprocess.DEVNULL)
    except OSError as error:
        raise DataError(f"no process can be started to decode it: {error.strerror or error}") from None


def _reason(code: int | None) -> str:
    if code in [-number for number in TIME_IS_UP]:
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
