"""Lookup of the int8 graphs in an exported folder, by engine."""

import os
from dataclasses import replace
from typing import List, get_args

from ..base.hints import command
from ..base.machine import require
from ..bundle.folder import CONFIG_FILE, INT8_FILES, INT8_STEM, Bundle
from ..config.values import EngineName
from ..errors import DeviceError, WeightsError


def engines_with_int8(bundle: Bundle, engine: EngineName = "auto") -> List[EngineName]:
    """Return the engines that the export kept an int8 graph for; `engine` is one of them, or "auto".

    Raises DeviceError: the processor has no int8, or there is no such graph.
    """
    require("int8")
    kept = [name for name in get_args(EngineName) if "int8" in bundle.precisions.get(name, {})]
    if not kept or engine not in ("auto", *kept):
        wanted = "" if engine == "auto" else f" for {engine}"
        others = f" (only for {', '.join(kept)})" if kept else ""
        raise DeviceError(
            f"{bundle.folder}: no int8 graph{wanted} here{others}; int8 is made at export: "
            f"{command('export')} -o Global.export_precision=int8"
        )
    return kept


def int8_bundle(bundle: Bundle, engine: EngineName) -> Bundle:
    """Return the `Bundle` of the int8 graph of `bundle` for `engine`.

    Raises DeviceError: see `engines_with_int8`. WeightsError: a file of the graph is missing or not of this export.
    """
    engines_with_int8(bundle, engine)
    files = [os.path.join(bundle.folder, name) for name in INT8_FILES[engine]]
    for path in files:
        if not os.path.isfile(path):
            raise WeightsError(
                f"{path}: no such file, though {CONFIG_FILE} lists its graph; copy the whole folder again, or export "
                "the model anew"
            )
    bundle.verify_checksums(*files)
    if engine == "paddle":
        return replace(bundle, stem=INT8_STEM, format="pdmodel", precision="int8")
    return replace(bundle, onnx_file=files[0])
