"""How many threads are worth starting on this machine."""

import math
import os
from pathlib import Path


def physical_cores(topology="/sys/devices/system/cpu", cpu_max="/sys/fs/cgroup/cpu.max"):
    """Return the number of physical cores that this process may use, at least 1.

    Two hardware threads of a core share its vector units, so that a second thread of matrix work on a core
    gains nothing. Counted are the cores of the processors in the affinity mask (Linux; elsewhere all logical
    processors), and a container's CPU quota caps the count.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    cores = {_core(Path(topology) / f"cpu{number}" / "topology", number) for number in processors}
    return max(1, min(len(cores), _quota(cpu_max)))


def _core(folder, number):
    try:
        return tuple((folder / name).read_text().strip() for name in ("physical_package_id", "core_id"))
    except OSError:
        return number


def _quota(path):
    """Return the processors that a cgroup (version 2) grants: "200000 100000" is 2, "max 100000" no limit."""
    try:
        quota, period = Path(path).read_text().split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota == "max" else math.ceil(int(quota) / int(period))
