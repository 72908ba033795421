"""A network in the library in `native`, by ctypes: without Paddle, and without Python's lock while it runs."""

from __future__ import annotations

import ctypes
import functools
import platform
import weakref
from pathlib import Path
from typing import Callable

import numpy as np

from ..base.machine import usable_flags
from . import build
from .levels import HEADERS, LEVELS, SOURCES, Level, commands, prebuilt
from .plan_header import PlanError

_LONGEST_REASON = 256


class Network:
    """The network of a plan (`plan.encode`). Any thread may `run` it, one at a time; a `clone` runs beside it.

    Raises BuildError: there is no library for this machine. PlanError: the plan is damaged, or none.
    """

    def __init__(self, plan: bytes) -> None:
        reason = ctypes.create_string_buffer(_LONGEST_REASON)
        self._take(_library().ppcls_network_create(plan, len(plan), reason, len(reason)), reason)

    def _take(self, handle: int | None, reason: ctypes.Array[ctypes.c_char]) -> None:
        if not handle:
            raise PlanError(reason.value.decode())
        self._handle = handle
        self.class_num: int = _library().ppcls_network_classes(handle)
        self._finalizer = weakref.finalize(self, _library().ppcls_network_destroy, handle)

    def clone(self) -> Network:
        """Return a network that runs beside this one; the weights are shared."""
        reason = ctypes.create_string_buffer(_LONGEST_REASON)
        twin = object.__new__(Network)
        twin._take(_library().ppcls_network_clone(self._handle, reason, len(reason)), reason)
        return twin

    def run(self, images: np.ndarray, threads: int) -> np.ndarray:
        """Return the outputs (N, class_num) for images (N, 3, H, W), float32; they do not depend on `threads`.

        Raises ValueError: the network takes no such images, or there is no memory for them.
        """
        images = np.ascontiguousarray(images, dtype=np.float32)
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError("it takes RGB images, (N, 3, H, W)")
        batch, _, height, width = images.shape
        out = np.empty((batch, self.class_num), np.float32)
        reason = ctypes.create_string_buffer(_LONGEST_REASON)
        arguments = (images.ctypes.data, batch, height, width, out.ctypes.data, threads, reason, len(reason))
        if _library().ppcls_network_run(self._handle, *arguments):
            raise ValueError(reason.value.decode())
        return out


def level() -> Level:
    """Return the best `Level` of this processor."""
    flags = usable_flags()
    return next(one for one in LEVELS if one.needs <= flags)


def library(of: Level | None = None) -> Path:
    """Return the path of the library, the wheel's or one that is built here on first use; None: of `level`.

    Raises BuildError: see `build.cached`.
    """
    chosen = of or level()
    path = prebuilt(chosen)
    return path if path.is_file() else build.cached(_name(chosen), _key, _builder(chosen))


def existing() -> Path | None:
    """Return the path of the library of `level` if there is one, else None. Raises BuildError: none and no compiler."""
    path = prebuilt(level())
    return path if path.is_file() else build.existing(_name(level()), _key)


def _name(of: Level) -> str:
    return f"native_{of.name}"


def _key(compiler: str) -> str:
    sources = (
        (build.SOURCES / name).read_bytes() for name in (*SOURCES, *HEADERS, "levels.py", "toolchain.py")
    )
    return build.key(compiler, platform.machine().encode(), *sources)


def _builder(chosen: Level) -> Callable[[str, Path, Path], Path]:
    def made(compiler: str, scratch: Path, log: Path) -> Path:
        system = build.system()
        target = scratch / f"native{system.suffix}"
        build.compile_and_link(*commands(system, compiler, chosen, scratch, target), log)
        return target

    return made


@functools.cache
def _library() -> ctypes.CDLL:
    return loaded(library())


def loaded(path: Path) -> ctypes.CDLL:
    """Return the library at `path` with the types of its functions (native/api.cc). Raises BuildError."""
    try:
        found = ctypes.CDLL(str(path))
    except OSError as problem:
        raise build.BuildError(
            f"{path} does not load ({problem}); delete it, and it is built again"
        ) from None
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    reason = (ctypes.c_char_p, integer)
    for name, result, arguments in (
        ("create", pointer, (ctypes.c_char_p, integer, *reason)),
        ("clone", pointer, (pointer, *reason)),
        ("classes", integer, (pointer,)),
        ("run", ctypes.c_int, (pointer, pointer, integer, integer, integer, pointer, integer, *reason)),
        ("destroy", None, (pointer,)),
    ):
        function = getattr(found, f"ppcls_network_{name}", None)
        if function is None:
            raise build.BuildError(f"{path} is another library; delete it, and it is built again")
        function.restype, function.argtypes = result, arguments
    return found
