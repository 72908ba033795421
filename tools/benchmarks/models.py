"""Latency, throughput, memory and load time of networks on CPU, ours and others', side by side.

    python tools/benchmarks/models.py FasterNet_T0 PPLCNet_x1_0 --engine paddle auto --batch 1 8 --threads 1 all
    python tools/benchmarks/models.py --all --engine auto --csv output/speed.csv \\
        --peer 'authors=peers/onnx/{model}.onnx' 'PaddleClas=peers/paddleclas/{model}/inference.json'
    python tools/benchmarks/models.py PPLCNet_x1_0 --peer paddle.vision:mobilenet_v3_small

A model is a registered name, which is exported here with random weights as tools/export_model.py exports it, or a
folder that it wrote. A peer is run in fp32 by every installed engine that reads it, see tools/benchmarks/peers.py.
Of a model, with one batch and one number of threads, everything is run at once: each in a process of its own, in
turns, round by round, so that other load on the machine meets all of them. Leave the machine alone meanwhile.

    median ms      of a batch: the median over the rounds of each round's median
    p90 ms         90th percentile of all runs
    load ms        from a new process, with only Python in it, to the first answer; what "auto" measures is not in it
    peak MiB       the most memory that the process held
    ratio          how many times as fast as the fastest peer: the median over the rounds of (peer's / ours)
    ratios         the same for each peer
"""

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.files import require_writable
from ppcls_light.base.machine import physical_cores
from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.errors import ConfigError, DeviceError, ExportError
from ppcls_light.runtime.auto import engine_versions
from ppcls_light.runtime.options import EngineOptions
from tools.benchmarks import comparison, harness

ENGINES = ("paddle", "onnxruntime", "openvino", "auto")
PRECISIONS = ("fp32", "bf16", "int8", "auto")
# Columns of the table that people read: "runs as" has the engine and the precision, "ratios" the peer.
SHOWN = tuple(column for column in comparison.COLUMNS if column not in ("engine", "precision", "peer"))


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="registered name or exported folder")
    parser.add_argument("--all", action="store_true", help="all models that have a published top-1")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=["paddle"])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--batch", type=harness.positive, nargs="+", default=[1])
    parser.add_argument("--threads", type=threads, nargs="+", default=[1], metavar="N|all")
    parser.add_argument("--peer", nargs="+", default=[], metavar="[NAME=]FILE|paddle.vision:NETWORK",
                        help="{model} in FILE stands for the model's name")  # fmt: skip
    parser.add_argument("--as-trained", action="store_true", help="also without the export's folding")
    parser.add_argument("--size", type=harness.positive, help="pixels; default: that of the published result")
    parser.add_argument("--seconds", type=float, default=3.0, help="end a turn after this long (default 3)")
    arguments = parser.parse_args()
    if arguments.all == bool(arguments.models):
        parser.error("name models or give --all, one of the two")
    return arguments


def threads(text):
    """Return a number of threads; "all" is one for each physical core."""
    return physical_cores() if text == "all" else harness.positive(text)


def our_bundles(model, arguments, scratch):
    """Return the image shape (C, H, W) and {"folded" and the like: `Bundle`} of a model.

    It is the folder as it is, or a registered network exported now. Of the latter int8 is calibrated on random images,
    if it is asked for: times only, as its weights.
    """
    from ppcls_light import create_model
    from ppcls_light.bundle.folder import read_bundle, write_inference_yml
    from ppcls_light.export.fold.steps import fold
    from ppcls_light.export.static import save_static

    size = arguments.size and [3, arguments.size, arguments.size]
    if Path(model).is_dir():
        bundle = read_bundle(model)
        return size or bundle.image_shape or [3, 224, 224], {"as exported": bundle}
    network = create_model(model)
    network.eval()
    shape = size or list(network.image_shape)
    forms = {"folded": fold(network), **({"as trained": network} if arguments.as_trained else {})}
    found = {}
    for form, layer in forms.items():
        folder = Path(scratch, form)
        folder.mkdir()
        save_static(layer, str(folder), shape)
        write_inference_yml(str(folder), [], 1, None, {"arch": model, "image_shape": shape})
        found[form] = read_bundle(folder)
        if {"int8", "auto"} & set(arguments.precision):
            found[form].precisions = quantized(found[form], network, shape)
    return shape, found


def quantized(bundle, network, shape):
    """Make the int8 graphs of `bundle` that can be made here, from random images; return its `precisions`, top-1 0."""
    import numpy as np

    from ppcls_light.export.int8 import make_int8
    from ppcls_light.runtime.engines import ENGINES

    images = list(np.random.default_rng(0).standard_normal((4, *shape)).astype("float32"))
    precisions = {engine: dict.fromkeys(kind.precisions, 0.0) for engine, kind in ENGINES.items()}
    for engine, top1 in precisions.items():
        try:
            make_int8(bundle, engine, images, network)
        except (DeviceError, ExportError) as problem:
            print(f"no int8 for {engine}: {problem}", file=sys.stderr)
            del top1["int8"]
    return precisions


def peer_bundles(model, peers, shape, scratch):
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


def compare_model(model, name, arguments, peers, refused):
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


def main():
    arguments = parse_arguments()
    peers = comparison.parse_peers(arguments.peer)
    if arguments.csv:
        require_writable(arguments.csv)
    if arguments.all:
        from ppcls_light.models import published

        arguments.models = list(published())
    settings = {
        "rounds": arguments.rounds,
        "runs": arguments.runs,
        "machine": harness.machine(),
        **{library: version or "" for library, version in engine_versions().items()},
        "load average": f"{os.getloadavg()[0]:.2f}",
        "date": time.strftime("%Y-%m-%d"),
    }
    rows, refused = [], {}
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


def _cell(value):
    return f"{value:.2f}" if isinstance(value, float) else value


if __name__ == "__main__":
    cli.run(main)
