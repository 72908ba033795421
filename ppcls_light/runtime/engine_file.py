"""engine.json beside an exported network: the fastest engine, and the conditions of its measurement.

    {"measurements": [{"conditions": {...}, "choice": {"engine", "onednn", "precision"}, "results": [...]}, ...]}

A measurement holds for its conditions only: the processor, its cores and instruction sets, the versions of the
engines, whether the project's operator for the network is there, the network's checksum, the input's shape with the
batch, the threads, what was asked for, and the precisions that the export proved.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, List, get_args

from .. import __version__
from ..base.files import write_text
from ..base.machine import physical_cores, processor_name, usable_flags
from ..bundle.folder import Bundle
from ..bundle.onnx import checksum
from ..config.deploy import EngineName, Precision
from ..errors import UserError
from . import one_operator
from .options import EngineOptions

logger = logging.getLogger(__name__)

FILE = "engine.json"

# Instruction sets that the engines have kernels for; the rest of a processor's flags come and go with kernels.
_FLAGS = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
_PACKAGES = {
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
}
# One for each batch, thread count and machine that a folder meets; the oldest go.
_KEPT = 32


def conditions(bundle: Bundle, options: EngineOptions, shape: Sequence[int]) -> Dict[str, Any]:
    """Return what a measurement depends on, as JSON holds it.

    Args:
        shape: (N, C, H, W) of the input.
    """
    return {
        "processor": processor_name(),
        "cores": physical_cores(),
        "instruction_sets": sorted(usable_flags() & _FLAGS),
        "versions": {"ppcls_light": __version__, **engine_versions()},
        "own_operators": one_operator.available(bundle, options),
        "network": checksum(bundle),
        "shape": list(shape),
        "threads": options.cpu_threads,
        "asked": {"engine": options.engine, "precision": options.precision},
        "proved": bundle.precisions,
    }


def engine_versions() -> Dict[str, str | None]:
    """Return the version of each engine's library, None where it is not installed."""
    return {library: next(filter(None, map(_version, names)), None) for library, names in _PACKAGES.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_choice(folder: str | Path, key: Dict[str, Any]) -> Dict[str, Any] | None:
    """Return the choice that `folder`/engine.json has for the conditions `key`, None when it has none.

    A file that cannot be read is one warning, and counts as none.
    """
    try:
        found = [entry for entry in _read(folder) if entry["conditions"] == key]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
        logger.warning("%s is damaged (%s); measuring again", os.path.join(folder, FILE), problem)
        return None
    return found[-1]["choice"] if found else None


def _read(folder: str | Path) -> List[Dict[str, Any]]:
    with open(os.path.join(folder, FILE), encoding="utf-8") as file:
        content = json.load(file)
    for entry in content["measurements"]:
        _check(**entry["choice"])
    return content["measurements"]


def _check(engine: object, onednn: object, precision: object) -> None:
    if (
        engine not in set(get_args(EngineName)) - {"auto"}
        or precision not in set(get_args(Precision)) - {"auto"}
        or not isinstance(onednn, bool)
    ):
        raise ValueError(f"there is no engine {engine} with oneDNN {onednn} and precision {precision}")


def save_choice(
    folder: str | Path, key: Dict[str, Any], choice: Dict[str, Any], results: List[Dict[str, Any]]
) -> None:
    """Write a measurement into `folder`/engine.json; a folder that cannot be written is one warning.

    Those of other networks go: the folder has been exported anew since.
    """
    try:
        old = [entry for entry in _read(folder) if entry["conditions"]["network"] == key["network"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        old = []
    kept = [entry for entry in old if entry["conditions"] != key]
    new = {"conditions": key, "choice": choice, "results": results}
    try:
        write_text(
            os.path.join(folder, FILE), json.dumps({"measurements": [*kept, new][-_KEPT:]}, indent=2) + "\n"
        )
    except UserError as problem:
        logger.warning("the choice of an engine is not remembered: %s", problem)
