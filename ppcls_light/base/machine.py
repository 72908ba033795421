"""Properties of this machine: physical cores, processor name, instruction sets and memory."""

from __future__ import annotations

import logging
import math
import os
import platform
import sys
from pathlib import Path
from typing import Mapping

from ..errors import DeviceError

logger = logging.getLogger(__name__)

_CPUINFO = "/proc/cpuinfo"


def _added_to(level: str, *flags: str) -> frozenset[str]:
    return _LEVELS[level] | set(flags)


# Instruction sets by the names of oneDNN, each with the flags that stay in use when ONEDNN_MAX_CPU_ISA names it;
# flags as Linux spells them (oneDNN's documentation, "CPU Dispatcher Control"). Later ones are preferred.
_LEVELS = {"sse41": frozenset({"sse4_1"})}
_LEVELS["avx"] = _added_to("sse41", "avx")
_LEVELS["avx2"] = _added_to("avx", "avx2", "fma")
_LEVELS["avx2_vnni"] = _added_to("avx2", "avx_vnni")
_LEVELS["avx2_vnni_2"] = _added_to("avx2_vnni", "avx_vnni_int8", "avx_ne_convert")
_LEVELS["avx512_core"] = _added_to("avx2", "avx512f", "avx512bw", "avx512vl", "avx512dq")
_LEVELS["avx512_core_vnni"] = _added_to("avx512_core", "avx512_vnni")
_LEVELS["avx512_core_bf16"] = _added_to("avx512_core_vnni", "avx512_bf16")
_LEVELS["avx512_core_fp16"] = _added_to("avx512_core_bf16", "avx512_fp16", "avx_vnni")
_LEVELS["avx512_core_amx"] = _added_to("avx512_core_fp16", "amx_tile", "amx_int8", "amx_bf16")
_LEVELS["avx512_core_amx_fp16"] = _added_to("avx512_core_amx", "amx_fp16")

_HIGHEST = next(reversed(list(_LEVELS)))

# oneDNN's newer names for three of them; any other value is no limit to it.
_ALIASES = {
    "avx10_1_512": "avx512_core_fp16",
    "avx10_1_512_amx": "avx512_core_amx",
    "avx10_1_512_amx_fp16": "avx512_core_amx_fp16",
}
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

# Instruction sets of which a precision needs one, their names, and the effect of their lack. oneDNN and ONNX Runtime
# then add products of int8 in pairs in 16 bits, which saturate: answers are off by up to 0.8 without an error.
_NEEDED = {
    "bf16": ({"avx512_bf16", "amx_bf16"}, "AVX512-BF16 or AMX", "without, it is slow or aborts"),
    "int8": (
        {"avx512_vnni", "avx_vnni", "amx_int8"},
        "AVX512-VNNI, AVX-VNNI or AMX",
        "without, sums of 16 bits overflow and the answers are wrong",
    ),
}


def processor_name(cpuinfo: str | Path = _CPUINFO) -> str:
    """Return the processor's name, such as "AMD EPYC 9B14"; elsewhere than on Linux, Python's name for it."""
    return _first_line(cpuinfo, "model name") or platform.processor() or platform.machine()


def processor_flags(cpuinfo: str | Path = _CPUINFO) -> frozenset[str]:
    """Return the names of its instruction sets, a frozenset; empty where they are not known."""
    return frozenset(_first_line(cpuinfo, "flags").split())


def usable_flags(
    flags: frozenset[str] | None = None, environment: Mapping[str, str] = os.environ
) -> frozenset[str]:
    """Return the `flags` (None: this processor's) that oneDNN uses in this environment.

    ONEDNN_MAX_CPU_ISA and the older DNNL_MAX_CPU_ISA limit it. The other engines do not know them; the same limit
    for all makes one machine answer as another.
    """
    flags = processor_flags() if flags is None else flags
    limit = _limit(environment)
    return flags & _LEVELS[limit[1]] if limit else flags


def forbidden(environment: Mapping[str, str] = os.environ) -> str:
    """Return the setting that hides instruction sets of this processor, "ONEDNN_MAX_CPU_ISA=AVX2"; else ""."""
    limit, flags = _limit(environment), processor_flags()
    return limit[0] if limit and flags & (_LEVELS[_HIGHEST] - _LEVELS[limit[1]]) else ""


def instruction_set(flags: frozenset[str] | None = None) -> str:
    """Return oneDNN's name of the highest instruction set in `flags` (None: the usable ones); "" for none."""
    flags = usable_flags() if flags is None else flags
    return next((level for level in reversed(list(_LEVELS)) if _LEVELS[level] <= flags), "")


def supports(precision: str, flags: frozenset[str] | None = None) -> bool:
    """Return whether a processor with `flags` (None: the usable ones) is known to have "bf16" or "int8"."""
    return bool(_NEEDED[precision][0] & (usable_flags() if flags is None else flags))


def require(precision: str, what: str | None = None, fix: str = "set Global.precision=fp32") -> None:
    """Refuse "bf16" or "int8" where this processor has no instructions for it.

    Where its instruction sets are not known, as outside Linux, that is a warning. The message says that `what` needs
    the precision, and ends with `fix`. Raises DeviceError: names the instructions, and the setting that switched them
    off.
    """
    if supports(precision):
        return
    flags, limit = processor_flags(), _limit(os.environ)
    sets, names, otherwise = _NEEDED[precision]
    need = f"{what or f'precision {precision}'} needs a processor with {names}"
    if limit and not sets & _LEVELS[limit[1]] and (sets & flags or not flags):
        raise DeviceError(f"{need}, which {limit[0]} switches off ({otherwise}); unset it, or {fix}")
    if flags:
        raise DeviceError(f"{need}, which this one does not have ({otherwise}); {fix}")
    logger.warning(
        "%s, and what this one has is not known here (%s); compare with fp32, or %s", need, otherwise, fix
    )


def _limit(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (the setting, such as "ONEDNN_MAX_CPU_ISA=AVX2", its name in `_LEVELS`), None without a limit."""
    name = next((name for name in _LIMITS if environment.get(name)), None)
    if name is None:
        return None
    level = environment[name].lower()
    level = _ALIASES.get(level, level)
    return (f"{name}={environment[name]}", level) if level in _LEVELS else None


def _first_line(file: str | Path, key: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def physical_cores(
    topology: str | Path = "/sys/devices/system/cpu", cpu_max: str | Path = "/sys/fs/cgroup/cpu.max"
) -> int:
    """Return the number of physical cores that this process may use, at least 1.

    Two hardware threads of a core share its vector units, so that a second thread of matrix work on a core
    gains nothing. Counted are the cores of the processors in the affinity mask (Linux; elsewhere all logical
    processors), and a container's CPU quota caps the count.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    cores = {_core(Path(topology) / f"cpu{number}" / "topology", number) for number in processors}
    return int(max(1, min(len(cores), quota(cpu_max))))


def _core(folder: Path, number: int) -> tuple[str, ...] | int:
    try:
        return tuple((folder / name).read_text().strip() for name in ("physical_package_id", "core_id"))
    except OSError:
        return number


def quota(path: str | Path = "/sys/fs/cgroup/cpu.max") -> float:
    """Return the processors that a cgroup (version 2) grants: "200000 100000" is 2, "max 100000" infinity."""
    try:
        quota, period = Path(path).read_text().split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota == "max" else math.ceil(int(quota) / int(period))


def available_memory(meminfo: str | Path = "/proc/meminfo", cgroups: str | Path = "/sys/fs/cgroup") -> float:
    """Return the memory that this process may still take, MiB; NaN where the system does not tell.

    That of the machine (Linux: MemAvailable, which counts the caches that would make room) or, where it is less, what
    a container's limit leaves (cgroups of version 2 and 1).
    """
    system = _first_line(meminfo, "MemAvailable").split()
    left = [int(system[0]) / 1024] if system else []
    for folder, limit, used, cache in (
        (Path(cgroups), "memory.max", "memory.current", "inactive_file"),
        (Path(cgroups) / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            bytes_left = int((folder / limit).read_text()) - int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # not there, or "max"
            continue
        left.append((bytes_left + int(stat.get(cache, 0))) / 2**20)
    return min(left, default=math.nan)


def peak_memory(status: str | Path = "/proc/self/status") -> float:
    """Return the most memory that this process ever held, MiB; NaN where the system does not tell."""
    # getrusage would count the memory that the parent held when it started this process.
    peak = _first_line(status, "VmHWM")
    if peak:
        return int(peak.split()[0]) / 1024
    try:
        import resource
    except ImportError:  # Windows has none
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
