"""Settings of the whole process for training on CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from ..base.machine import physical_cores

# Time that Intel's OpenMP threads look for more work before they sleep. Its default, 200, takes a core from the
# reader's processes; none at all costs more than the wait between two operators.
_SPIN_MILLISECONDS = 1

# Of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def use_threads(library: ctypes.CDLL) -> int:
    """Let OpenMP, and so the operators and Paddle's BLAS, use the physical cores; return the threads.

    Paddle's import sets OMP_NUM_THREADS=1 where it is not set. A number that was set by anybody else stays:
    another one, or 1 in the environment that this process was started with, as under
    `paddle.distributed.launch`.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1" and not _started_with("OMP_NUM_THREADS"):
        library.omp_set_num_threads(physical_cores())
    if hasattr(library, "kmp_set_blocktime") and "KMP_BLOCKTIME" not in os.environ:
        library.kmp_set_blocktime(_SPIN_MILLISECONDS)
    return library.omp_get_max_threads()


def _started_with(name: str) -> bool:
    try:
        environment = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return name in os.environ
    return any(entry.startswith(f"{name}=".encode()) for entry in environment)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed instead of giving it back to the system.

    A training step frees and allocates the same large maps again and again; fresh memory comes as zeroed
    pages, one fault for every 4 KiB, which can take longer than the arithmetic. With another C library than
    glibc this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 1 << 26)
