"""Networks in engines, ours and others', timed side by side; the rows of `models`."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from ..base.files import short_names
from ..base.timing import Observation, Spread
from ..bundle.folder import Bundle, read_bundle
from ..config.values import EngineName
from ..errors import ConfigError
from ..runtime.engines import missing_library
from ..runtime.options import EngineOptions
from ..runtime.paddle_library import FREEING_FLAG
from ..runtime.race import EngineCall
from . import harness

TIMES = ("median ms", "p90 ms", "fastest round", "slowest round", "images/s", "load ms", "peak MiB")
COLUMNS = (
    *("model", "network", "engine", "precision", "batch", "threads", "runs as"),
    *TIMES,
    *("peer", "ratio", "ratios"),
)
OURS = ("folded", "as exported")  # networks of this project, as users run them
# Engines that run a peer, by the kind of its file.
_ENGINES: Dict[str, Tuple[EngineName, ...]] = {
    ".onnx": ("onnxruntime", "openvino"),
    ".json": ("paddle",),
    ".pdmodel": ("paddle",),
}
_VISION = "paddle.vision:"


class Entry(NamedTuple):
    """A network, "folded" or the name of a peer, in an engine; with `peer`, others are compared with it.

    Engine and precision may be "auto"; without a `batch_size` in `options` the engine is left to find it out.
    """

    network: str
    bundle: Bundle
    options: EngineOptions
    batch: int
    peer: bool = False


class Peer(NamedTuple):
    """A network of others, from `[NAME=]FILE` or `[NAME=]paddle.vision:NETWORK`.

    `{model}` in the location stands for the model that is compared.
    """

    name: str
    location: str

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Raises ConfigError when `text` is neither a file that an engine reads nor a network of paddle.vision."""
        name, equals, location = text.partition("=")
        peer = cls(name, location) if equals else cls(text, text)
        path = Path(peer.location)
        if not peer.location.startswith(_VISION) and (
            path.suffix not in _ENGINES or (path.suffix != ".onnx" and path.stem != "inference")
        ):
            raise ConfigError(
                f"--peer {text}: give a .onnx file, an inference.json or inference.pdmodel with its "
                f"inference.pdiparams, or {_VISION}NETWORK"
            )
        return peer

    def bundle(self, model: str, folder: str, image_shape: Sequence[int]) -> Bundle | None:
        """Return the network to compare `model` with, None when there is none for this model.

        A network of paddle.vision is exported for `image_shape` into the empty `folder`.
        Raises ConfigError: a location without "{model}" does not exist.
        """
        if self.location.startswith(_VISION):
            _save_vision(self.location[len(_VISION) :], folder, image_shape)
            return read_bundle(folder)
        path = Path(self.location.replace("{model}", model))
        if not path.is_file():
            if "{model}" in self.location:
                return None
            raise ConfigError(
                f"--peer {self.location}: no such file; tools/benchmarks/peers.py of a checkout writes some"
            )
        if path.suffix == ".onnx":
            return Bundle(str(path.parent), "onnx", onnx_file=str(path))
        return read_bundle(path.parent)

    def entries(self, bundle: Bundle, batch: int, threads: int) -> List[Entry]:
        """Return an `Entry` for each installed engine that reads the peer's `bundle`, in fp32.

        Two for OpenVINO: one is told the batch, as it is for our networks. The other is not, as when a file is used
        as it is; MicroNet then takes up to twice as long.
        """
        entries = []
        for engine in _ENGINES[os.path.splitext(bundle.onnx_file or bundle.graph_file)[1]]:
            if not missing_library(engine):
                options = EngineOptions(engine, cpu_threads=threads, batch_size=batch)
                entries.append(Entry(self.name, bundle, options, batch, peer=True))
                if engine == "openvino":
                    options = replace(options, batch_size=None)
                    entries.append(Entry(f"{self.name}, any batch", bundle, options, batch, peer=True))
        return entries


def _save_vision(name: str, folder: str, image_shape: Sequence[int]) -> None:
    import paddle

    from ..export.static import save_static

    create = getattr(paddle.vision.models, name, None)
    if not callable(create):
        raise ConfigError(f"--peer {_VISION}{name}: paddle.vision.models has no {name}; mobilenet_v2 is one")
    save_static(create(pretrained=False), folder, image_shape)


def parse_peers(texts: Sequence[str]) -> List[Peer]:
    """Return the `Peer` of each text. Raises ConfigError where two, or one and our own networks, have the same name."""
    peers = list(dict.fromkeys(map(Peer.parse, texts)))
    taken = {*OURS, "as trained"}
    for peer in peers:
        if peer.name in taken:
            raise ConfigError(
                f"--peer: '{peer.name}' is the name of another network in the rows; give it another one"
            )
        taken.add(peer.name)
    return peers


def row_names(models: Sequence[str]) -> Dict[str, str]:
    """Return {model: its name in the rows}, of a folder that is named twice only once.

    A registered network has its own name, a folder as much of the end of its path as tells it from all others.
    """
    different: Dict[str, str] = {}
    for model in models:
        different.setdefault(os.path.realpath(model) if os.path.isdir(model) else model, model)
    folders = [model for model in different.values() if os.path.isdir(model)]
    registered = [model for model in different.values() if model not in folders]
    names = dict(zip(folders, short_names(folders, registered)))
    return {model: names.get(model, model) for model in different.values()}


def peer_call(bundle: Bundle, options: EngineOptions, shape: Sequence[int]) -> EngineCall:
    """Return the call of a case as others run it."""
    os.environ.setdefault(FREEING_FLAG, "0")
    return EngineCall(bundle, options, shape)


def compare(
    model: str, entries: Sequence[Entry], image_shape: Sequence[int], arguments: Any, refused: Dict[Any, str]
) -> List[Tuple[Any, ...]]:
    """Time entries of one batch and one number of threads in turns, and compare each of ours with each peer.

    Returned are rows of `COLUMNS`, numbers as numbers; "" where there is nothing to compare. `refused` gets
    {the first six of `COLUMNS`: why it did not run}.
    """
    cases: Dict[Any, Tuple[Any, ...]] = {}
    asked: Dict[Any, Entry] = {}
    for entry in entries:
        settings = entry.options.engine, entry.options.precision, entry.batch, entry.options.cpu_threads
        name: Any = (model, entry.network, *settings)
        with harness.noting(refused, name):
            prepare = peer_call if entry.peer else EngineCall
            cases[name] = (prepare, *_settled(entry, image_shape), (entry.batch, *image_shape))
            asked[name] = entry
    seen = harness.observe(cases, arguments.rounds, arguments.runs, arguments.seconds, refused)
    peers = {
        f"{entry.network} in {entry.options.engine}": seen[name].medians
        for name, entry in asked.items()
        if entry.peer and name in seen
    }
    rows: List[Tuple[Any, ...]] = []
    for name, observation in seen.items():
        entry = asked[name]
        auto = "auto: " if "auto" in (entry.options.engine, entry.options.precision) else ""
        _, in_force = observation.note
        comparison = ("", "", "") if entry.peer else compared(observation.medians, peers)
        rows.append((*name, auto + in_force.title, *times(observation, entry.batch), *comparison))
    return rows


def _settled(entry: Entry, image_shape: Sequence[int]) -> Tuple[Bundle, EngineOptions]:
    """Return bundle and options with what "auto" comes to here, and the ONNX graph: neither is part of loading."""
    from ..bundle.onnx import onnx_file
    from ..runtime.auto import resolve

    bundle, options = entry.bundle, entry.options
    if "auto" in (options.engine, options.precision):
        options = resolve(bundle, options, image_shape)
    if options.engine not in ("paddle", "native"):
        bundle = replace(bundle, onnx_file=onnx_file(bundle))
    return bundle, options


def times(observation: Observation, batch: int) -> Tuple[float, ...]:
    """Return the values of `TIMES`: the median over the rounds of their medians, images per second by it."""
    median, least, greatest = Spread.of(observation.medians)
    per_second = 1000 * batch / median
    return median, observation.p90, least, greatest, per_second, observation.load, observation.memory


def compared(medians: Sequence[float], peers: Dict[str, List[float]]) -> Tuple[Any, ...]:
    """Return (the best peer, the ratio to it, the ratios to all as text); {name: its rounds' medians}.

    A ratio is the median over the rounds of (peer's / ours): within a round both meet much the same load of the
    machine, which a division of two medians does not use.
    """
    if not peers:
        return "", "", ""
    best = min(peers, key=lambda name: statistics.median(peers[name]))
    ratios = {
        name: statistics.median(theirs / ours for ours, theirs in zip(medians, peer))
        for name, peer in peers.items()
    }
    return best, ratios[best], "; ".join(f"{name} {value:.2f}" for name, value in ratios.items())
