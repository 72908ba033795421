"""Engine selection for engine or precision "auto": measured once, and remembered in engine.json of the folder.

    {"measurements": [{"conditions": {...}, "choice": {"engine", "onednn", "precision"}, "results": [...]}, ...]}

A measurement holds for its conditions only: the processor, its cores and instruction sets, the versions of the
engines, whether the engine native has its library, the network's checksum, the input's shape with the
batch, the threads, what was asked for, and the precisions that the export proved. PPCLS_LIGHT_ENGINE_FILE names
another file, for folders that are read-only; it may be that of several networks.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple, get_args

from .. import __version__
from ..base.files import open_plain, write_text
from ..base.hints import command
from ..base.machine import physical_cores, processor_name, supports, usable_flags
from ..bundle.folder import Bundle
from ..bundle.onnx import checksum
from ..config.values import EngineName, Precision
from ..errors import DeviceError, UserError
from . import native_engine
from .engines import ENGINES
from .int8 import engines_with_int8
from .options import EngineOptions
from .race import Result, measure

logger = logging.getLogger(__name__)

FILE, VARIABLE = "engine.json", "PPCLS_LIGHT_ENGINE_FILE"

# Instruction sets that the engines have kernels for; the rest of a processor's flags come and go with kernels.
_FLAGS = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
_PACKAGES = {
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
}
# One for each batch, thread count and machine that a folder meets; the oldest go.
_KEPT = 32


def resolve(bundle: Bundle, options: EngineOptions, image_shape: Sequence[int]) -> EngineOptions:
    """Return `options` with a certain engine and precision in the place of "auto".

    On a GPU engine "auto" is Paddle, the only engine here that uses one; there is nothing to measure. On the
    CPU, Paddle with oneDNN and without, ONNX Runtime and OpenVINO, as far as they are installed, and the engine native
    where the folder has a plan run random images (C, H, W) in turns, with the threads and the batch of `options`. The
    fastest is taken, and saved in engine.json.

    Raises DeviceError: no engine runs the network as asked, with the reasons; or precision "auto" on a GPU.
    """
    if options.device == "gpu":
        if options.precision == "auto":
            raise DeviceError(
                "precision auto is for CPUs; with Global.use_gpu=True set Global.precision to fp32 or fp16"
            )
        return replace(options, engine="paddle")
    shape = (options.batch_size or 1, *image_shape)
    options = replace(options, cpu_threads=options.cpu_threads or physical_cores())
    listed, key = candidates(bundle, options), conditions(bundle, options, shape)
    choice = load_choice(bundle.folder, key)
    if choice is None:
        logger.info(
            "choosing an engine by measurement, some seconds, once for this machine and %s", bundle.folder
        )
        results = measure(bundle, listed, shape)
        best = choose(results)
        if best is None:
            reasons = "; ".join(f"{result.options.title}: {result.left_out}" for result in results)
            raise DeviceError(f"{bundle.folder}: no engine runs this network as asked ({reasons})")
        for result in results:
            top1 = bundle.precisions.get(result.options.engine, {}).get(result.options.precision)
            logger.info("%s%s", result, "" if top1 is None else f"; top-1 {top1:.2f} % at export")
        choice = {name: getattr(best.options, name) for name in ("engine", "onednn", "precision")}
        save_choice(bundle.folder, key, choice, [result.as_dict() for result in results])
    return replace(options, **choice)


def candidates(bundle: Bundle, options: EngineOptions) -> List[EngineOptions]:
    """Return the `EngineOptions` that "auto" in `options` stands for.

    Raises DeviceError: int8 is asked for, and the folder has none.
    """
    pairs: List[Tuple[EngineName, Precision]]
    if options.precision == "auto":
        pairs = of_this_machine(bundle)
    elif options.precision == "int8" and bundle.precision != "int8":
        pairs = [(engine, "int8") for engine in engines_with_int8(bundle, options.engine)]
    else:
        pairs = [(engine, options.precision) for engine in ENGINES]
    listed = []
    for engine, precision in pairs:
        if options.engine in ("auto", engine) and (
            engine != "native" or native_engine.is_for(bundle, precision)
        ):
            # Some networks are faster without oneDNN on some processors; other precisions need it.
            switches = (True, False) if (engine, precision) == ("paddle", "fp32") else (True,)
            listed += [
                replace(options, engine=engine, precision=precision, onednn=onednn) for onednn in switches
            ]
    return listed


def of_this_machine(bundle: Bundle) -> List[Tuple[EngineName, Precision]]:
    """Return the [(engine, precision)] accepted at export and supported by this processor, installed or not."""
    if bundle.precision == "int8":
        return [("paddle", "int8" if supports("int8") else "fp32")]
    if not bundle.precisions:
        logger.warning(
            "%s: only fp32 here; bf16 and int8 are compared with it at export, which also makes int8: "
            "%s -o Global.export_precision=int8",
            bundle.folder,
            command("export"),
        )
    precisions: Tuple[Precision, ...] = ("fp32", "bf16", "int8")
    pairs = [
        (engine, precision)
        for precision in precisions
        for engine in ENGINES
        if precision == "fp32" or (precision in bundle.precisions.get(engine, ()) and supports(precision))
    ]
    return [pair for pair in pairs if pair[0] != "paddle" or bundle.format != "onnx"]


def choose(results: Sequence[Result]) -> Result | None:
    """Return the fastest of the `Result`s that are not left out, None when all are."""
    return min(
        (result for result in results if not result.left_out), key=lambda result: result.best, default=None
    )


def conditions(bundle: Bundle, options: EngineOptions, shape: Sequence[int]) -> Dict[str, Any]:
    """Return the conditions under which a measurement on input of `shape` (N, C, H, W) stays valid, fit for JSON."""
    return {
        "processor": processor_name(),
        "cores": physical_cores(),
        "instruction_sets": sorted(usable_flags() & _FLAGS),
        "versions": {"ppcls_light": __version__, **engine_versions()},
        "native": native_engine.has_library(bundle),
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


def engine_file(folder: str | Path) -> str:
    """Return the path of the file that remembers the choices for an exported `folder`."""
    return os.environ.get(VARIABLE) or os.path.join(folder, FILE)


def load_choice(folder: str | Path, key: Dict[str, Any]) -> Dict[str, Any] | None:
    """Return the choice that engine.json of `folder` has for the conditions `key`, None when it has none.

    A file that cannot be read is one warning, and counts as none.
    """
    try:
        found = [entry for entry in _read(folder) if entry["conditions"] == key]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as problem:
        logger.warning("%s is damaged (%s); measuring again", engine_file(folder), problem)
        return None
    return found[-1]["choice"] if found else None


class Measured(NamedTuple):
    """A measurement that engine.json remembers: `milliseconds` of the fastest round, of a batch of so many images."""

    title: str  # of the engine and precision
    milliseconds: float
    batch: int
    threads: int
    processor: str


def measured(bundle: Bundle) -> List[Measured]:
    """Return what engine.json, see above, has of the network of `bundle`: [] when there is no such file.

    A file that cannot be read is one warning, and counts as none.
    """
    try:
        network = checksum(bundle)
        return [
            Measured(
                EngineOptions(**{name: result[name] for name in ("engine", "onednn", "precision")}).title,
                min(result["milliseconds"]),
                *(entry["conditions"]["shape"][0], entry["conditions"]["threads"]),
                entry["conditions"]["processor"],
            )
            for entry in _read(bundle.folder)
            for result in entry["results"]
            if entry["conditions"]["network"] == network and not result["left_out"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError) as problem:
        logger.warning("%s is damaged (%s); it is left out", engine_file(bundle.folder), problem)
        return []


def _read(folder: str | Path) -> List[Dict[str, Any]]:
    with open(engine_file(folder), encoding="utf-8") as file:
        content = json.load(file)
    for entry in content["measurements"]:
        _check(**entry["choice"])
    return content["measurements"]


def _is_of_others(path: str) -> bool:
    """Return whether `path` is a file that no damage makes of an engine.json, such as weights or a photo."""
    try:
        with open_plain(path) as file:
            start = file.read(64).strip()
    except OSError:
        return False
    return bool(start) and not start.startswith(b"{")


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
    """Write a measurement into engine.json of `folder`; a file that cannot be written is one warning.

    In a folder those of other networks go: it has been exported anew since.
    """
    shared = bool(os.environ.get(VARIABLE))
    try:
        old = [entry for entry in _read(folder) if shared or entry["conditions"]["network"] == key["network"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        old = []
    kept = [entry for entry in old if entry["conditions"] != key]
    new = {"conditions": key, "choice": choice, "results": results}
    try:
        if shared and _is_of_others(engine_file(folder)):
            raise UserError(f"{engine_file(folder)} is another file, which stays")
        text = json.dumps({"measurements": [*kept, new][-_KEPT:]}, indent=2) + "\n"
        write_text(engine_file(folder), text)
    except UserError as problem:
        logger.warning(
            "the choice of an engine is not remembered: %s; %s names another file", problem, VARIABLE
        )
