"""`openmp_threads`: the number of threads that the user has set by OMP_NUM_THREADS."""

from __future__ import annotations

import os
from pathlib import Path

OMP_NUM_THREADS = "OMP_NUM_THREADS"

_MOST = 1 << 15  # more than a machine has cores; OpenMP takes no number past 32 bits


def openmp_threads() -> int | None:
    """Return the threads of a team that OMP_NUM_THREADS asks for, None where nobody has set it.

    Paddle's import writes 1 into the environment where the variable is missing or no number, as "4,2" of nested teams
    is none. So a 1 counts if this process was started with a number, as under `paddle.distributed.launch`.
    """
    value = os.environ.get(OMP_NUM_THREADS, "")
    if value == "1":
        started = _started_with(OMP_NUM_THREADS)
        value = value if started.isdecimal() else started
    first = value.partition(",")[0].strip()
    return min(int(first[:9]), _MOST) or None if first.isdecimal() else None


def _started_with(name: str) -> str:
    try:
        environment = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ[name]
    found = (entry.partition(b"=")[2] for entry in environment if entry.startswith(f"{name}=".encode()))
    return next(found, b"").decode(errors="replace")
