"""What the processor of this machine is and can do."""

import platform
from pathlib import Path

from .errors import DeviceError

_CPUINFO = "/proc/cpuinfo"
# The instruction sets of which a precision needs one. Without, bf16 is slow or aborts; int8 is slower than fp32, and
# sums of 16 bits overflow in ONNX Runtime.
_NEEDED = {
    "bf16": ({"avx512_bf16", "amx_bf16"}, "AVX512-BF16 or AMX"),
    "int8": ({"avx512_vnni", "avx_vnni", "amx_int8"}, "AVX512-VNNI, AVX-VNNI or AMX"),
}


def processor_name(cpuinfo=_CPUINFO):
    """Return the processor's name, such as "AMD EPYC 9B14"; what Python knows of it where Linux is not."""
    return _first_line(cpuinfo, "model name") or platform.processor() or platform.machine()


def processor_flags(cpuinfo=_CPUINFO):
    """Return the names of its instruction sets, a frozenset; empty where they are not known."""
    return frozenset(_first_line(cpuinfo, "flags").split())


def supports(precision, flags=None):
    """Return whether a processor with `flags`, None: this one, has instructions for "bf16" or "int8"."""
    return bool(_NEEDED[precision][0] & (processor_flags() if flags is None else flags))


def require(precision, flags=None):
    """Refuse "bf16" or "int8" on a processor that has no instructions for it.

    Raises:
        DeviceError: names the fix.
    """
    if not supports(precision, flags):
        raise DeviceError(
            f"precision {precision} needs a processor with {_NEEDED[precision][1]}, which this one does not have; set "
            "Global.precision=fp32"
        )


def _first_line(cpuinfo, key):
    try:
        lines = Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")
