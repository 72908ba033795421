"""Builds of the library in `native` by instruction set. Of the standard library alone: setup.py loads this file."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, FrozenSet, List, NamedTuple, Tuple

if TYPE_CHECKING:
    from .toolchain import Toolchain

FOLDER = Path(__file__).parent / "native"
SOURCES = tuple(f"native/{name}.cc" for name in ("api", "micronet", "network", "threads"))
HEADERS = (
    *(f"native/{name}" for name in ("exports.map", "micronet.h", "network.h", "step.h", "threads.h")),
    "kernels/rounding.h",
    "kernels/simd.h",
    "kernels/tile.h",
)
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-ffunction-sections")


class Level(NamedTuple):
    """An instruction set that the library is built for."""

    name: str
    needs: FrozenSet[str]  # flags of a processor, as Linux spells them
    flags: Tuple[str, ...]  # of the compiler


_AVX2 = Level("avx2", frozenset({"avx2", "fma"}), ("-mavx2", "-mfma"))
_AVX512 = Level(
    "avx512",
    _AVX2.needs | {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    (*_AVX2.flags, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"),
)
BASELINE = Level("baseline", frozenset(), ())
LEVELS = (_AVX512, _AVX2, BASELINE) if platform.machine() in ("x86_64", "AMD64") else (BASELINE,)


def prebuilt(level: Level) -> Path:
    """Return the path of the library that a wheel, of Linux, has for `level`."""
    return FOLDER / f"{level.name}.so"


def commands(
    system: Toolchain, compiler: str, level: Level, scratch: Path, target: Path
) -> Tuple[List[List[str]], List[str]]:
    """Return the commands that compile the sources into `scratch`, and the one that links them as `target`."""
    root = Path(__file__).parent
    objects = [str(scratch / f"{Path(name).stem}.o") for name in SOURCES]
    compilations = [
        [compiler, *FLAGS, *level.flags, "-c", str(root / name), "-o", made]
        for name, made in zip(SOURCES, objects)
    ]
    exports = [f"{system.exports}{FOLDER / 'exports.map'}"] if system.exports else []
    return compilations, [compiler, *system.link_alone, *exports, *objects, "-o", str(target)]
