"""`switch_mkl`: the AVX2 kernels of Paddle's MKL on processors of AMD.

Paddle brings an MKL of 2019, which takes kernels without vectors of 32 bytes where the processor is not Intel's; matrix
products take two to three times as long by them. MKL_DEBUG_CPU_TYPE=5, read at its first call, selects those for AVX2.
Newer MKLs do not know the variable.
"""

import contextlib
import os
from typing import Mapping, MutableMapping

VARIABLE, AVX2_KERNELS = "MKL_DEBUG_CPU_TYPE", "5"
SWITCH = "PPCLS_LIGHT_MKL_SWITCH"  # 0 turns it off

_CPUINFO = "/proc/cpuinfo"


def switch_mkl(environment: MutableMapping[str, str] = os.environ, cpuinfo: str = _CPUINFO) -> None:
    """Set the variable for this process and its children where it helps, unless it is set; call it before Paddle's
    import.
    """
    if VARIABLE not in environment and environment.get(SWITCH) != "0" and helps(cpuinfo):
        environment[VARIABLE] = AVX2_KERNELS


def kernels(environment: Mapping[str, str] = os.environ, cpuinfo: str = _CPUINFO) -> str:
    """Return which kernels MKL takes, for a log."""
    if not helps(cpuinfo):
        return "as it chooses"
    if environment.get(VARIABLE) == AVX2_KERNELS:
        return f"those for AVX2 ({VARIABLE}={AVX2_KERNELS}; {SWITCH}=0 leaves the choice to MKL)"
    return f"as it chooses on a processor of AMD; {VARIABLE}={AVX2_KERNELS} may be faster"


def helps(cpuinfo: str = _CPUINFO) -> bool:
    """Return whether this is a processor of AMD with AVX2; False where the system does not tell."""
    facts = {}
    with contextlib.suppress(OSError), open(cpuinfo, encoding="utf-8", errors="replace") as file:
        for line in file:  # not the whole file, which takes long to make for hundreds of processors
            name, _, value = line.partition(":")
            facts[name.strip()] = value.split()
            if not line.strip():
                break
    return facts.get("vendor_id") == ["AuthenticAMD"] and "avx2" in facts.get("flags", ())
