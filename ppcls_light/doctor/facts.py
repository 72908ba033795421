"""Facts about this machine that the standard library knows, each as text for a line of the report."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Callable, Mapping

from .. import __version__
from ..base import machine
from ..base.processes import output_of

_ROOT = Path(__file__).resolve().parents[2]
# Distributions whose versions matter, those of every installation first.
PACKAGES = (
    *(
        "numpy",
        "opencv-python-headless",
        "pillow",
        "PyYAML",
        "safetensors",
        "paddlepaddle",
        "paddlepaddle-gpu",
    ),
    *("onnxruntime", "onnxruntime-gpu", "openvino", "paddle2onnx", "onnx", "nncf", "paddlex", "setuptools"),
    *("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless", "pillow-heif", "faiss-cpu"),
    *("fastapi", "starlette", "uvicorn", "python-multipart", "prometheus-client", "ray", "pyarrow"),
    *(
        "scikit-learn",
        "scikit-image",
        "matplotlib",
        "visualdl",
        "tensorboardX",
        "wandb",
        "optuna",
        "ipython",
        "torch",
        "timm",
    ),
)
_SHOWN = re.compile(
    r"PPCLS_|OMP_|KMP_|GOMP_|MKL_|OPENBLAS_|ONEDNN_|DNNL_|FLAGS_|PADDLE_|CUDA_|NVIDIA_|OPENCV_|HF_(ENDPOINT|HUB_)"
    r"|XDG_CACHE_HOME$|PYTHON(PATH|HOME|SAFEPATH|IOENCODING)$|LD_(LIBRARY_PATH|PRELOAD)$|LANG$|LC_ALL$"
    r"|(https?|all|no)_proxy$",
    re.IGNORECASE,
)
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "AMX": ("amx_tile",),
}


def told(fact: Callable[[], str]) -> str:
    """Return what `fact()` returns, or that it is not known and why."""
    try:
        return fact()
    except Exception as problem:  # a report must not end over one of its lines
        return f"not known ({type(problem).__name__}: {problem})"


def source() -> str:
    """Return whether the package is a checkout, with its revision, or installed."""
    if not (_ROOT / "setup.py").exists():
        return f"installed in {_ROOT}"
    revision = output_of(["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"])
    if not revision:
        return f"checkout {_ROOT}, revision not known"
    changed = output_of(["git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"checkout {_ROOT} at {revision}{' with changes' if changed else ''}"


def python() -> str:
    kind = (
        "conda"
        if "CONDA_PREFIX" in os.environ
        else "venv"
        if sys.prefix != sys.base_prefix
        else "no environment"
    )
    return f"{platform.python_implementation()} {platform.python_version()}, {kind}, {sys.executable}"


def system() -> str:
    container = ", in a container" if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))) else ""
    return f"{platform.platform()}{container}"


def instruction_sets() -> str:
    """Return which of the sets that precisions need are there, and what a variable hides of them."""
    flags = machine.processor_flags()
    if not flags:
        return "not known on this system"
    sets = ", ".join(f"{name} {'yes' if flags & set(names) else 'no'}" for name, names in _SETS.items())
    hidden = machine.forbidden()
    return f"{sets}; oneDNN uses {machine.instruction_set() or 'none'}{f', limited by {hidden}' if hidden else ''}"


def precisions() -> str:
    lacking = [name for name in ("bf16", "int8") if not machine.supports(name)]
    if not machine.processor_flags():
        return "fp32; whether this processor has bf16 and int8 is not known here"
    return ", ".join(["fp32", *(name for name in ("bf16", "int8") if name not in lacking)]) + (
        f"; no instructions for {' and '.join(lacking)}, which are refused" if lacking else ""
    )


def cores() -> str:
    quota = machine.quota()
    granted = "no limit" if math.isinf(quota) else f"{quota:g} by its cgroup"
    return f"{machine.physical_cores()} physical to use, {os.cpu_count()} logical in the machine, {granted}"


def memory() -> str:
    free = machine.available_memory()
    return "not known on this system" if math.isnan(free) else f"{free / 1024:.1f} GiB left to this process"


def disk() -> str:
    return f"{shutil.disk_usage(os.getcwd()).free / 2**30:.1f} GiB free in the working directory"


def has_nvidia() -> bool:
    """Return whether the driver of NVIDIA is there; nothing of it is run."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def packages() -> dict[str, str]:
    """Return {distribution: version} of those of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that change what the package does, without the values of secrets."""
    return {
        name: "(set)" if _SECRET.search(name) else value
        for name, value in sorted(environment.items())
        if _SHOWN.match(name)
    }


def version() -> str:
    return __version__
