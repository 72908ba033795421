"""Compilers, flags and the names of libraries by system. Of the standard library alone: setup.py loads this file.

The tests run those of Linux. Those of macOS are what its compiler and linker document; nobody has run them.
"""

from __future__ import annotations

import platform
from typing import NamedTuple, Optional, Tuple


class Toolchain(NamedTuple):
    """Compilers and flags that make a shared library of C++ on one system, for one processor."""

    compilers: Tuple[str, ...]  # in the order of preference
    processor: Tuple[str, ...]  # flags for all instructions of the processor that compiles
    openmp: Tuple[str, ...]  # flags of a compilation whose loops are shared by threads
    openmp_library: Tuple[str, ...]  # links what runs them, where Paddle brings none
    link: Tuple[str, ...]  # flags of a library that Paddle loads
    link_alone: Tuple[str, ...]  # flags of one with libstdc++ in it, which a slim container lacks
    exports: str  # stands before the file that names the functions of such a library; "": all are visible
    suffix: str


_LINUX = Toolchain(
    compilers=("c++", "g++", "clang++"),
    processor=("-mcpu=native",),
    openmp=("-fopenmp",),
    openmp_library=("-fopenmp",),
    link=("-shared",),
    link_alone=("-shared", "-pthread", "-static-libstdc++", "-static-libgcc", "-s", "-Wl,--gc-sections"),
    exports="-Wl,--version-script=",
    suffix=".so",
)
# Apple's clang knows OpenMP behind its driver and has no library of it; Homebrew's is libomp. Its processors of ARM
# are its default with all their instructions. A library may lack what is found in Paddle when it is loaded.
_MACOS = Toolchain(
    compilers=("c++", "clang++"),
    processor=(),
    openmp=("-Xclang", "-fopenmp"),
    openmp_library=("-lomp",),
    link=("-dynamiclib", "-undefined", "dynamic_lookup"),
    link_alone=("-dynamiclib", "-pthread", "-Wl,-dead_strip"),
    exports="",
    suffix=".dylib",
)


def toolchain(system: str = platform.system(), machine: str = platform.machine()) -> Optional[Toolchain]:
    """Return the toolchain of `system` and `machine`, as `platform` names them.

    None where nothing is compiled: Microsoft's compiler has no vector types, and other systems are not known.
    """
    found = {"Linux": _LINUX, "Darwin": _MACOS}.get(system)
    if found is not None and machine in ("x86_64", "AMD64"):
        found = found._replace(processor=("-march=native",))
    return found
