"""Latency, throughput, memory and load time of networks on CPU, ours and others', side by side."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base.files import require_writable
from ..base.tables import markdown_table, write_csv
from ..bundle.folder import Bundle
from ..config.values import EngineName
from ..errors import ConfigError, DeviceError, ExportError
from ..runtime.auto import engine_versions
from ..runtime.options import EngineOptions
from . import comparison, harness

# Columns of the table that people read: "runs as" has the engine and the precision, "ratios" the peer.
SHOWN = tuple(column for column in comparison.COLUMNS if column not in ("engine", "precision", "peer"))


def our_bundles(
    model: str, arguments: argparse.Namespace, scratch: str
) -> tuple[list[int], dict[str, Bundle]]:
    """Return the image shape (C, H, W) and {"folded" and the like: `Bundle`} of a model.

    It is the folder as it is, or a registered network exported now. Of the latter int8 is calibrated on random images,
    if it is asked for: times only, as its weights.
    """
    from ..bundle.folder import read_bundle, write_inference_yml
    from ..config.postprocess import Topk
    from ..export.fold.steps import fold
    from ..export.plan import write_plan
    from ..export.static import save_static
    from ..models import create_model

    size = arguments.size and [3, arguments.size, arguments.size]
    if Path(model).is_dir():
        bundle = read_bundle(model)
        return size or bundle.image_shape or [3, 224, 224], {"as exported": bundle}
    network = create_model(model)
    network.eval()
    shape = size or list(network.image_shape)
    forms = {"folded": fold(network), **({"as trained": network} if arguments.as_trained else {})}
    found: dict[str, Bundle] = {}
    for form, layer in forms.items():
        folder = Path(scratch, form)
        folder.mkdir()
        save_static(layer, str(folder), shape)
        if form == "folded":
            write_plan(layer, str(folder), multilabel=False, softmax=True)
        write_inference_yml(str(folder), [], Topk(topk=1), None, {"arch": model, "image_shape": shape})
        found[form] = read_bundle(folder)
        if {"int8", "auto"} & set(arguments.precision):
            found[form].precisions = quantized(found[form], network, shape, arguments.engine)
    return shape, found


def quantized(
    bundle: Bundle, network: Any, shape: Sequence[int], engines: Sequence[EngineName]
) -> dict[str, dict[str, float]]:
    """Make the int8 graphs of `bundle` that can be made here, from random images; return its `precisions`, top-1 0.

    They are those of `engines`, for "auto" of all.
    """
    import numpy as np

    from ..export.int8 import make_int8
    from ..runtime.engines import ENGINES

    images = list(np.random.default_rng(0).standard_normal((4, *shape)).astype("float32"))
    precisions: dict[str, dict[str, float]] = {
        engine: dict.fromkeys(ENGINES[engine].precisions, 0.0)
        for engine in (ENGINES if "auto" in engines else engines)
        if "int8" in ENGINES[engine].precisions
    }
    for engine, top1 in precisions.items():
        try:
            make_int8(bundle, engine, images, network)
        except (DeviceError, ExportError) as problem:
            print(f"no int8 for {engine}: {problem}", file=sys.stderr)
            del top1["int8"]
    return precisions


def peer_bundles(
    model: str, peers: Sequence[comparison.Peer], shape: Sequence[int], scratch: str
) -> dict[comparison.Peer, Bundle]:
    """Return {peer: `Bundle`} of those that have a network for `model`."""
    found = {}
    for index, peer in enumerate(peers):
        folder = Path(scratch, f"peer {index}")
        folder.mkdir()
        bundle = peer.bundle(Path(model).resolve().name, str(folder), shape)
        if bundle is None:
            print(f"{model}: no peer {peer.location}", file=sys.stderr)
        else:
            found[peer] = bundle
    return found


def compare_model(
    model: str,
    name: str,
    arguments: argparse.Namespace,
    peers: Sequence[comparison.Peer],
    refused: dict[Any, str],
) -> list[tuple[Any, ...]]:
    """Return the rows of a model: those of `comparison.COLUMNS`, and the pixels."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        shape, ours = our_bundles(model, arguments, scratch)
        others = peer_bundles(model, peers, shape, scratch)
        settings = list(itertools.product(ours.items(), arguments.engine, arguments.precision))
        for batch, count in itertools.product(arguments.batch, dict.fromkeys(arguments.threads)):
            entries = []
            for (form, bundle), engine, precision in settings:
                options = EngineOptions(engine, cpu_threads=count, precision=precision, batch_size=batch)
                entries.append(comparison.Entry(form, bundle, options, batch))
            for peer, bundle in others.items():
                entries += peer.entries(bundle, batch, count)
            print(f"{model}, batch {batch}, threads {count}, cases {len(entries)}", file=sys.stderr)
            rows += comparison.compare(name, entries, shape, arguments, refused)
    return [(*row, shape[-1]) for row in rows]


def run(arguments: argparse.Namespace) -> None:
    """Time the networks that the `arguments` of the command `bench` name, and print their rows.

    Raises ConfigError: a model or a peer does not exist, or nothing could be run.
    """
    peers = comparison.parse_peers(arguments.peer)
    if arguments.csv:
        require_writable(arguments.csv)
    if arguments.all:
        from ..models import published

        arguments.models = list(published())
    settings = {
        "rounds": arguments.rounds,
        "runs": arguments.runs,
        "machine": harness.machine(),
        **{library: version or "" for library, version in engine_versions().items()},
        "load average": f"{os.getloadavg()[0]:.2f}",
        "date": time.strftime("%Y-%m-%d"),
    }
    rows: list[tuple[Any, ...]] = []
    refused: dict[Any, str] = {}
    for model, name in comparison.row_names(arguments.models).items():
        rows += compare_model(model, name, arguments, peers, refused)
        if arguments.csv:
            cells = [(*row, *settings.values()) for row in rows]
            write_csv(arguments.csv, (*comparison.COLUMNS, "pixels", *settings), cells)
    for name, reason in refused.items():
        print(f"left out: {', '.join(map(str, name))}: {reason}", file=sys.stderr)
    if not rows:
        raise ConfigError("nothing could be run; the reasons are above")
    print(f"\n{', '.join(f'{key} {value}' for key, value in settings.items() if value != '')}\n")
    named = [dict(zip(comparison.COLUMNS, row)) for row in rows]
    print(markdown_table(SHOWN, [[_cell(row[column]) for column in SHOWN] for row in named]), end="")


def _cell(value: object) -> object:
    return f"{value:.2f}" if isinstance(value, float) else value
