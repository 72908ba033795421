"""Compilation of the custom operators for this processor, and their cache in the home folder.

A library runs with all rights of its user: it is loaded from a folder of this user alone, and only if it is byte by
byte what was built.

Not by `paddle.utils.cpp_extension.load`: its folder is not made for several processes at once, it starts Paddle anew
to call the same compiler, and takes all of Paddle to load what is built, which an exported network does without.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Callable, Sequence

from .toolchain import Toolchain, toolchain

SOURCES = Path(__file__).parent
BINDING = "binding.cc"
KERNELS = tuple(
    f"kernels/{name}.cc"
    for name in (
        *(
            "attention",
            "bottleneck",
            "conv",
            "conv_gradient",
            "conv_linear",
            "conv_pack",
            "conv_product",
            "depthwise",
        ),
        *(
            "layer_norm",
            "layer_scale",
            "norm_act",
            "norm_act_small",
            "product",
            "shift_max",
        ),
    )
)
HEADERS = (
    "arguments.h",
    *(
        f"kernels/{name}.h"
        for name in (
            *("activations", "columns", "conv", "kernels", "norm_act"),
            *("product", "rounding", "simd", "tile", "transpose"),
        )
    ),
)

FLAGS = ("-std=c++17", "-O3", "-fPIC")
# Another processor's instructions than this one's, for a measurement or a test: a value of GCC's -march.
MARCH = "PPCLS_LIGHT_MARCH"
MARCHES = ("native", "x86-64", "x86-64-v3", "x86-64-v4")  # the latter three have SSE2, AVX2 and AVX-512

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PATIENCE = 300  # seconds that a compiler has


class BuildError(Exception):
    """There is no library; the message is the reason, in part of a sentence."""


def cache_folder() -> Path:
    """Return the user's folder of built libraries; $XDG_CACHE_HOME moves it."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ppcls_light" / "ops"


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library, as ctypes has it; its operators are Paddle's from now on, which must be loaded.

    Raises BuildError: it cannot be built or loaded here.
    """
    path = str(library())
    core = sys.modules["paddle.base.libpaddle"]
    _make_first_predictor(core)
    try:
        loaded = ctypes.CDLL(path)
        core.load_op_meta_info_and_register_op(path)
    except (OSError, RuntimeError, ValueError) as problem:
        reason = str(problem).strip().splitlines()[-1]
        raise BuildError(f"{path} does not load ({reason}); delete it, and it is built again") from None
    return loaded


def _make_first_predictor(core: ModuleType) -> None:
    """Create a dummy predictor so that Paddle's one-time operator scan runs before our operators are registered.

    Paddle makes it at the first predictor of a process and no more. It registers what is registered already once more,
    and warns of each operator. A predictor of an empty file is none, but the first.
    """
    with contextlib.suppress(Exception), tempfile.NamedTemporaryFile(suffix=".json") as nothing:
        core.create_predictor(core.AnalysisConfig(nothing.name, nothing.name))


def library() -> Path:
    """Return the path of the library for this source, Paddle, compiler and processor; build it if need be.

    Raises BuildError: see `cached`.
    """
    return cached("ops", _key, _build)


def cached(name: str, key_of: Callable[[str], str], build: Callable[[str, Path, Path], Path]) -> Path:
    """Return the path of the library `name` that `build` makes by a compiler; it is built if need be.

    Several processes may do this at once: each builds under a name of its own, and renaming decides. A library that
    was cut, changed or put there by another user is built again.

    Args:
        name: of the library; beside others of the same key it is the only one that is kept.
        key_of: returns what tells builds by a compiler apart.
        build: called with the compiler, an empty folder and the file of a failed build's output, returns the library.

    Raises BuildError: no compiler, a failed build, with the place of its output, or another user's folder.
    """
    command = compiler()
    try:
        folder, stem = cache_folder(), f"{name}_{key_of(command)}"
        for each in (folder.parent, folder):
            _make_private(each)
        found = _built(folder, stem)
        if found is None:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                built = build(command, Path(scratch), folder / f"{stem}.log")
                found = _built(folder, stem)  # by another process meanwhile
                if found is None:
                    found = folder / f"{stem}_{_checksum(built)}{built.suffix}"
                    os.replace(built, found)
    except (OSError, RuntimeError) as problem:
        # RuntimeError: Path.home() without a home
        raise BuildError(f"{problem}; set XDG_CACHE_HOME to a folder that can be written") from None
    return found


def compiler() -> str:
    """Return the path of the C++ compiler. Raises BuildError: there is none."""
    compilers = system().compilers
    found = next(filter(None, map(shutil.which, compilers)), None)
    if found is None:
        raise BuildError(f"there is no C++ compiler ({', '.join(compilers)}) on PATH")
    return found


def system() -> Toolchain:
    """Return the toolchain of this system. Raises BuildError: nothing is compiled here."""
    found = toolchain()
    if found is None:
        raise BuildError(
            f"nothing is compiled on {platform.system()}, whose own compiler has no vector types"
        )
    return found


def kernel_flags() -> tuple[str, ...]:
    """Return the flags of the kernels; not for the binding: the layout of Paddle's own types may depend on them.

    Raises BuildError: the variable `MARCH` has none of `MARCHES`, or this is no x86-64.
    """
    own = system().processor
    march = os.environ.get(MARCH) or MARCHES[0]
    if march == MARCHES[0]:
        return own
    if march not in MARCHES or own != ("-march=native",):
        raise BuildError(f"{MARCH}={march} is none of {', '.join(MARCHES)}; unset it")
    return (f"-march={march}",)


def existing(name: str = "ops", key_of: Callable[[str], str] | None = None) -> Path | None:
    """Return the path of a library of `cached`, the operators' by default, if it is built, else None.

    Raises BuildError: no compiler, or no Paddle where the library needs one.
    """
    return _built(cache_folder(), f"{name}_{(key_of or _key)(compiler())}")


def _make_private(folder: Path) -> None:
    """Make `folder` where nobody else can write, or raise BuildError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if not _trusted(about):
        raise BuildError(f"{folder} belongs to another user; set XDG_CACHE_HOME to a folder of your own")
    if about.st_mode & _OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(about.st_mode) & ~_OTHERS_WRITE)


def _trusted(about: os.stat_result) -> bool:
    """Return whether a file or folder with this `os.stat_result` is this user's or root's."""
    return not hasattr(os, "geteuid") or about.st_uid in (0, os.geteuid())


def _built(folder: Path, stem: str) -> Path | None:
    """Return the library called `stem` that is as it was built, or None; others of its name are removed."""
    found = None
    for path in sorted(folder.glob(f"{stem}*{system().suffix}")):
        about = path.lstat()
        safe = stat.S_ISREG(about.st_mode) and _trusted(about) and not about.st_mode & _OTHERS_WRITE
        if safe and path.stem == f"{stem}_{_checksum(path)}":
            found = path
        else:
            with contextlib.suppress(OSError):  # another process was faster
                path.unlink()
    return found


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _key(compiler: str) -> str:
    paddle = _paddle()
    about = [(paddle / "version/__init__.py").read_bytes(), str(paddle).encode(), _processor().encode()]
    about.append(repr((FLAGS, kernel_flags(), system())).encode())
    sources = (Path(__file__).name, BINDING, *KERNELS, *HEADERS)
    return key(compiler, *about, *((SOURCES / name).read_bytes() for name in sources))


def key(compiler: str, *parts: bytes) -> str:
    """Return a name for what `compiler` makes of `parts`; another file of the compiler is another compiler."""
    # To ask it for its version would take 5 ms of each start.
    path = os.path.realpath(compiler)
    about = os.stat(path)
    digest = hashlib.sha256()
    for part in (f"{path} {about.st_size} {about.st_mtime_ns}".encode(), *parts):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _paddle() -> Path:
    """Return the folder of the installed Paddle, which is not imported for that."""
    found = importlib.util.find_spec("paddle")
    if found is None or found.origin is None:
        raise BuildError("Paddle is not installed")
    return Path(found.origin).parent


def _processor() -> str:
    """Return the properties that `-march=native` depends on: a home may be shared by machines."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    found = {line.split(":")[0].strip(): line for line in lines if line.split(":")[0].strip() in wanted}
    return "\n".join([platform.machine(), platform.processor(), *found.values()])


def _build(compiler: str, scratch: Path, log: Path) -> Path:
    """Return the path of a library built in the folder `scratch`; `log` gets the output of a failed build."""
    paddle, own = _paddle(), system()
    include, libs, base = paddle / "include", paddle / "libs", paddle / "base/libpaddle.so"
    # As headers of the system, of which the compiler warns not.
    headers = [
        "-isystem",
        str(include),
        "-isystem",
        str(include / "third_party"),
        "-DPADDLE_WITH_CUSTOM_KERNEL",
    ]
    flags = {BINDING: headers, **dict.fromkeys(KERNELS, kernel_flags())}
    command = [compiler, *FLAGS, *own.openmp]
    compilations = [
        [*command, *more, "-c", str(SOURCES / name), "-o", str(scratch / f"{Path(name).name}.o")]
        for name, more in flags.items()
    ]
    # The OpenMP that Paddle's BLAS runs on: with another one the threads of both would wait for work on the
    # same cores.
    openmp = libs / f"libiomp5{own.suffix}"
    built = scratch / f"ops{own.suffix}"
    link = [compiler, *own.link, *(one[-1] for one in compilations)]
    link += [str(base), *([str(openmp)] if openmp.exists() else own.openmp_library)]
    link += [*(f"-Wl,-rpath,{folder}" for folder in (base.parent, libs)), "-o", str(built)]
    compile_and_link(compilations, link, log)
    return built


def compile_and_link(compilations: Sequence[list[str]], link: list[str], log: Path) -> None:
    """Run the `compilations`, two at a time, and `link`, which ends in its output.

    Raises BuildError: one of them fails; `log` then has its output.
    """
    from concurrent.futures import ThreadPoolExecutor  # like subprocess, not for who finds the library built

    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(_run, compilations))
    failed = next(filter(None, outputs), None) or _run(link)
    if failed:
        log.write_text(failed, encoding="utf-8")
        reason = next((line for line in failed.splitlines() if "error" in line), "no message")
        raise BuildError(f"the build failed ({reason.strip()[:200]}); see {log}")
    built = Path(link[-1])
    built.chmod(0o755)
    with open(built, "rb+") as file:
        os.fsync(file.fileno())


def _run(command: list[str]) -> str | None:
    """Run `command`; return None, or the command and its output when it failed."""
    import subprocess

    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} has not ended after {_PATIENCE} seconds") from None
    return f"{' '.join(command)}\n{done.stdout}" if done.returncode else None
