"""Networks in engines, ours and others', timed side by side; the rows of tools/benchmarks/models.py."""

import csv
import importlib.metadata
import math
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ppcls_light.base.files import short_names
from ppcls_light.base.timing import Spread
from ppcls_light.errors import ConfigError, DataError
from tools.benchmarks import harness

TIMES = ("median ms", "p90 ms", "fastest round", "slowest round", "images/s", "load ms", "peak MiB")
COLUMNS = (
    *("model", "network", "engine", "precision", "batch", "threads", "runs as"),
    *TIMES,
    *("peer", "ratio", "ratios"),
)
# For a table that people read; "runs as" has the engine and the precision, "ratios" the peer.
SHOWN = tuple(column for column in COLUMNS if column not in ("engine", "precision", "peer"))

OURS = ("folded", "as exported")  # networks of this project, as users run them

# What `read_rows` looks at: what it must be.
_NUMBERS = {
    "batch": int,
    "threads": int,
    "median ms": float,
    "images/s": float,
    "fastest round": float,
    "slowest round": float,
}
_TEXTS = ("model", "network", "engine", "precision", "runs as", "peer", "ratios", "machine")

# What runs a peer, by the kind of its file.
_ENGINES = {".onnx": ("onnxruntime", "openvino"), ".json": ("paddle",), ".pdmodel": ("paddle",)}
_VISION = "paddle.vision:"


class Entry(NamedTuple):
    """A network in an engine.

    Attributes:
        network: what it is: "folded", or the name of a peer.
        bundle: the `Bundle` to run.
        options: `EngineOptions`; engine and precision may be "auto".
        peer: whether others are compared with it.
        any_batch: whether the engine is left to find out the batch, as it is for a file that is used as it is.
    """

    network: str
    bundle: Any
    options: Any
    peer: bool = False
    any_batch: bool = False


class Peer(NamedTuple):
    """A network of others, from `[NAME=]FILE` or `[NAME=]paddle.vision:NETWORK`.

    `{model}` in the location stands for the model that is compared.
    """

    name: str
    location: str

    @classmethod
    def parse(cls, text):
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

    def bundle(self, model, folder, image_shape):
        """Return the `Bundle` to compare `model` with, None when there is none for this model.

        Args:
            model: a name to put in the place of "{model}".
            folder: an empty one, for a network of paddle.vision.
            image_shape: (C, H, W), for the same.

        Raises:
            ConfigError: a location without "{model}" does not exist.
        """
        from ppcls_light.bundle.folder import Bundle, read_bundle

        if self.location.startswith(_VISION):
            _save_vision(self.location[len(_VISION) :], folder, image_shape)
            return read_bundle(folder)
        path = Path(self.location.replace("{model}", model))
        if not path.is_file():
            if "{model}" in self.location:
                return None
            raise ConfigError(f"--peer {self.location}: no such file; tools/benchmarks/peers.py writes some")
        if path.suffix == ".onnx":
            return Bundle(str(path.parent), "onnx", onnx_file=str(path))
        return read_bundle(path.parent)


def _save_vision(name, folder, image_shape):
    import paddle

    from ppcls_light.export.static import save_static

    create = getattr(paddle.vision.models, name, None)
    if not callable(create):
        raise ConfigError(f"--peer {_VISION}{name}: paddle.vision.models has no {name}; mobilenet_v2 is one")
    save_static(create(pretrained=False), folder, image_shape)


def peer_entries(peer, bundle, batch, threads):
    """Return an `Entry` for each installed engine that reads the peer's `bundle`, in fp32.

    Two for OpenVINO: one is told the batch, as it is for our networks. The other is not, as when a file is used as it
    is; MicroNet then takes up to twice as long.
    """
    from ppcls_light.runtime.engines import missing_library
    from ppcls_light.runtime.options import EngineOptions

    engines = _ENGINES[os.path.splitext(bundle.onnx_file or bundle.graph_file)[1]]
    entries = [
        Entry(peer.name, bundle, EngineOptions(engine=engine, cpu_threads=threads, batch_size=batch), True)
        for engine in engines
        if not missing_library(engine)
    ]
    return entries + [
        entry._replace(network=f"{peer.name}, any batch", any_batch=True)
        for entry in entries
        if entry.options.engine == "openvino"
    ]


def parse_peers(texts):
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


def row_names(models):
    """Return {model: its name in the rows}, of a folder that is named twice only once.

    A registered network has its own name, a folder as much of the end of its path as tells it from all others.
    """
    different = {}
    for model in models:
        different.setdefault(os.path.realpath(model) if os.path.isdir(model) else model, model)
    folders = [model for model in different.values() if os.path.isdir(model)]
    registered = [model for model in different.values() if model not in folders]
    names = dict(zip(folders, short_names(folders, registered)))
    return {model: names.get(model, model) for model in different.values()}


def prepare(entry, image_shape):
    """Return the call of an `Entry`: one batch of random images of `image_shape` (C, H, W)."""
    import numpy as np

    from ppcls_light.runtime.paddle_library import FREEING_FLAG
    from ppcls_light.runtime.race import EngineCall

    options = entry.options
    images = np.random.default_rng(0).standard_normal((options.batch_size, *image_shape)).astype("float32")
    if entry.peer and options.engine == "paddle":  # as others run it
        os.environ.setdefault(FREEING_FLAG, "0")
    if entry.any_batch:
        options = replace(options, batch_size=None)
    return EngineCall(entry.bundle, options, images)


def compare(model, entries, image_shape, arguments, refused):
    """Time the entries in turns and compare each of ours with each peer.

    Args:
        model: its name, the first column.
        entries: of one batch and one number of threads.
        image_shape: (C, H, W).
        arguments: with `rounds`, `runs` and `seconds`, see `harness.observe`.
        refused: dict that gets {the first six of `COLUMNS`: why it did not run}.

    Returns:
        Rows of `COLUMNS`, numbers as numbers; "" where there is nothing to compare.
    """
    cases, asked = {}, {}
    for entry in entries:
        options = entry.options
        settings = options.precision, options.batch_size, options.cpu_threads
        name = (model, entry.network, entry.options.engine, *settings)
        with harness.noting(refused, name):
            cases[name] = harness.Case(prepare, (_settled(entry, image_shape), image_shape))
            asked[name] = entry
    seen = harness.observe(cases, arguments.rounds, arguments.runs, arguments.seconds, refused)
    peers = {
        f"{entry.network} in {entry.options.engine}": seen[name].medians
        for name, entry in asked.items()
        if entry.peer and name in seen
    }
    rows = []
    for name, observation in seen.items():
        options = asked[name].options
        auto = "auto: " if "auto" in (options.engine, options.precision) else ""
        comparison = ("", "", "") if asked[name].peer else compared(observation.medians, peers)
        _, in_force = observation.note
        rows.append((*name, auto + in_force.title, *times(observation, options.batch_size), *comparison))
    return rows


def _settled(entry, image_shape):
    """Return the entry with what "auto" comes to here, and with its ONNX graph: neither is part of loading."""
    from ppcls_light.bundle.onnx import with_onnx_file

    if "auto" in (entry.options.engine, entry.options.precision):
        from ppcls_light.runtime.auto import resolve

        entry = entry._replace(options=resolve(entry.bundle, entry.options, image_shape))
    if entry.options.engine != "paddle":
        entry = entry._replace(bundle=with_onnx_file(entry.bundle))
    return entry


def times(observation, batch):
    """Return the values of `TIMES`: the median over the rounds of their medians, images a second by it."""
    median, least, greatest = Spread.of(observation.medians)
    per_second = 1000 * batch / median
    return median, observation.p90, least, greatest, per_second, observation.load, observation.memory


def ratio(medians, peer):
    """Return how many times faster than a peer: the median over the rounds of (peer's / ours) in that round.

    Within a round both meet much the same load of the machine, which a division of two medians does not use.
    """
    return statistics.median(theirs / ours for ours, theirs in zip(medians, peer))


def compared(medians, peers):
    """Return (the best peer, the ratio to it, the ratios to all as text); {name: its rounds' medians}."""
    if not peers:
        return "", "", ""
    best = min(peers, key=lambda name: statistics.median(peers[name]))
    ratios = {name: ratio(medians, peer) for name, peer in peers.items()}
    return best, ratios[best], "; ".join(f"{name} {value:.2f}" for name, value in ratios.items())


def read_rows(paths):
    """Return the rows of CSV files of tools/benchmarks/models.py, as dicts of text. Raises DataError."""
    rows = [row for path in paths for row in _rows_of(path)]
    machines = sorted({row["machine"] for row in rows})
    if len(machines) > 1:
        raise DataError(
            f"{', '.join(map(str, paths))}: measured on {' and on '.join(machines)}; give files of one"
        )
    return rows


def _rows_of(path):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}; give a CSV file") from None
    needed = {*_NUMBERS, *_TEXTS}
    if not rows or not set(rows[0]) >= needed:
        raise DataError(f"{path} is no CSV of tools/benchmarks/models.py; make one with its --csv")
    for number, row in enumerate(rows, 1):
        wrong = next((column for column in sorted(needed) if not _fits(column, row[column])), None)
        if wrong:
            raise DataError(
                f"{path}: row {number}: '{wrong}' is {row[wrong]!r}; make the file anew, or take it out"
            )
    return rows


def _fits(column, text):
    if text is None:  # the row ends before it
        return False
    try:
        if column == "ratios":
            return all(0 < ratio < math.inf for ratio in read_ratios(text).values())
        return column not in _NUMBERS or 0 < _NUMBERS[column](text) < math.inf
    except ValueError:
        return False


def read_ratios(text):
    """Return {peer: how many times as fast} of the column "ratios"."""
    return {name: float(value) for name, value in (one.rsplit(" ", 1) for one in text.split("; ") if one)}


def environment_stamp():
    """Return what the times depend on beside the settings: {column: value}."""
    versions = {}
    for library, packages in {
        "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
        "onnxruntime": ("onnxruntime",),
        "openvino": ("openvino",),
    }.items():
        versions[library] = next(filter(None, map(_version, packages)), "")
    return {
        "machine": harness.machine(),
        **versions,
        "load average": f"{os.getloadavg()[0]:.2f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
