"""Formats of other runtimes on photos: which networks convert, their answers beside Paddle's, milliseconds and MB.

    python tools/benchmarks/formats.py photos/ --csv output/formats.csv
    python tools/benchmarks/formats.py photos/ --networks PPLCNet_x1_0 --formats openvino --precisions fp32 fp16
    python tools/benchmarks/formats.py --table output/formats.csv

Weights are random; batch norms have the statistics of photos, and the classifier stands them apart, so that they get
different answers. The first 100 photos are compared with Paddle Inference in fp32, others calibrate int8.
Milliseconds are of one photo on one thread, in turns with ONNX Runtime. The table has a row per format, precision and
family: its networks that convert, their photos with the same best class, the largest difference of a probability, and
milliseconds and MB of the family's network of REFERENCES.
"""

import csv
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.bench import harness
from ppcls_light.config.postprocess import Topk
from ppcls_light.data import find_images
from ppcls_light.errors import DataError, ExportError

# isort: split
import numpy as np
import paddle
from paddle import nn

from ppcls_light.bench.target_call import TargetCall
from ppcls_light.bundle.folder import ONNX_FILE, read_bundle, write_inference_yml
from ppcls_light.bundle.onnx import to_onnx
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.export.targets import TARGETS
from ppcls_light.export.targets.convert import convert, served
from ppcls_light.export.verify import prepared, served_probs
from ppcls_light.models import create_model, list_models
from ppcls_light.models.embedding import classifier, logits_and_embeddings
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.race import EngineCall

OPS = [
    ("ResizeImage", {"resize_short": 256}),
    ("CropImage", {"size": 224}),
    ("NormalizeImage", {"order": ""}),
]
SHAPE = (3, 224, 224)
COMPARED, CALIBRATION, CLASSES = 100, 64, 1000
# Networks whose milliseconds and MB stand for their family in the table.
REFERENCES = {
    "PPLCNet": "PPLCNet_x1_0",
    "FasterNet": "FasterNet_T0",
    "MicroNet": "MicroNet_M3",
    "EdgeNeXt": "EdgeNeXt_XX_Small",
}


class Row(NamedTuple):
    """A line of the CSV file; the numbers are empty where `reason` says why there is none."""

    network: str
    format: str
    precision: str
    photos: object = ""
    same_top1: object = ""
    largest_difference: object = ""
    ms: object = ""
    fastest_round: object = ""
    slowest_round: object = ""
    MB: object = ""
    reason: str = ""


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("photos", nargs="?", help="folder of images, at least 164")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--formats", nargs="+", choices=sorted(TARGETS), default=list(TARGETS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument(
        "--table", nargs="+", metavar="CSV", help="print the table of rows that were measured before"
    )
    harness.add_turns(parser, rounds=5, runs=20)
    arguments = parser.parse_args()
    if (arguments.table is None) == (arguments.photos is None):
        parser.error("give a folder of photos, or --table CSV")
    return arguments


@paddle.no_grad()
def settle(model, images, spread=3):
    """Give a network with random weights answers that differ from image to image (N, C, H, W).

    Batch norms get the statistics of the images, and the classifier random rows that stand the embeddings apart: logits
    of mean 0 and standard deviation `spread`. EdgeNeXt's layer scales of 1e-6 become 1, lest a wrong branch go unseen.
    """
    for name, scale in model.named_parameters():
        if name.endswith(("gamma", "gamma_xca")):
            scale.set_value(paddle.ones_like(scale))
    norms = [layer for layer in model.sublayers() if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D))]
    head, images = classifier(model), paddle.to_tensor(images)
    for layer in norms:
        layer._momentum = 0.0  # the running statistics become those of the batch
        if layer.weight.shape == head.weight.shape[1:]:  # MicroNet's, behind the classifier
            layer.weight.set_value(paddle.full_like(layer.weight, float(spread)))
    for _ in range(2):
        model.train()
        model(images)
        model.eval()
        embeddings = logits_and_embeddings(model, images)[1].numpy()
        apart = spread / np.sqrt(embeddings.var(axis=0).sum())
        weight = apart * np.random.default_rng(0).normal(size=head.weight.shape).astype("float32")
        head.weight.set_value(weight)
        head.bias.set_value(-embeddings.mean(axis=0) @ weight)
    return model


def export(name, folder, images):
    """Export a network with settled random weights to `folder`, with inference.onnx."""
    paddle.seed(0)
    model = settle(create_model(name, class_num=CLASSES), images)
    save_static(fold(model), folder, SHAPE)
    own = {"arch": name, "image_shape": list(SHAPE), "class_num": CLASSES, "output": "probs"}
    write_inference_yml(folder, OPS, Topk(), None, own)
    to_onnx(read_bundle(folder), os.path.join(folder, ONNX_FILE))


def measure(network, arguments, paths, images):
    """Return the rows of a network."""
    rows, cases, options = [], {}, EngineOptions(engine="onnxruntime", cpu_threads=1)
    with tempfile.TemporaryDirectory() as folder:
        export(network, folder, images[:32])
        file = os.path.join(folder, ONNX_FILE)
        expected = served_probs(folder, paths)["probs"]
        cases["onnx", "fp32"] = (EngineCall, read_bundle(folder), options, (1, *SHAPE))
        answers = {("onnx", "fp32"): served_probs(folder, paths, "onnxruntime")["probs"]}
        for name in arguments.formats:
            for precision in (one for one in TARGETS[name].files if one in arguments.precisions):
                try:
                    TARGETS[name].check([precision], False)
                    convert(folder, name, precision, file, images)
                    answers[name, precision] = served(folder, name, precision, paths)["probs"]
                    cases[name, precision] = (TargetCall, folder, name, precision, SHAPE)
                except ExportError as problem:
                    rows.append(Row(network, name, precision, reason=str(problem)))
        seen = harness.measure(cases, arguments.rounds, arguments.runs)
        for (name, precision), found in answers.items():
            files = [ONNX_FILE] if name == "onnx" else TARGETS[name].files[precision]
            same = int(np.sum(found.argmax(axis=1) == expected.argmax(axis=1)))
            largest, times = np.abs(found - expected).max(), seen[name, precision]
            size = sum(os.path.getsize(os.path.join(folder, one)) for one in files) / 1e6
            numbers = (len(paths), same, f"{largest:.1e}", *(f"{one:.2f}" for one in _spread(times)))
            rows.append(Row(network, name, precision, *numbers, f"{size:.2f}"))
    return rows


def _spread(times):
    return statistics.median(times), min(times), max(times)


def table(rows):
    """Return the Markdown table of `Row`s, a row per format, precision and family."""
    lines = []
    kinds = dict.fromkeys((row.format, row.precision) for row in rows)
    for (name, precision), (family, reference) in (
        (kind, one) for kind in kinds for one in REFERENCES.items()
    ):
        tried = [
            row
            for row in rows
            if (row.format, row.precision) == (name, precision) and row.network.startswith(f"{family}_")
        ]
        made = [row for row in tried if not row.reason]
        if not tried:
            continue
        largest = f"{max((float(row.largest_difference) for row in made), default=0):.0e}" if made else ""
        same = (
            f"{sum(int(row.same_top1) for row in made)} of {sum(int(row.photos) for row in made)}"
            if made
            else ""
        )
        costs = next(((row.ms, row.MB) for row in made if row.network == reference), ("", ""))
        command = f"`--format {name}`" + (
            "" if precision == "fp32" else f" `Global.export_precision={precision}`"
        )
        lines.append((command, family, f"{len(made)} of {len(tried)}", same, largest, *costs))
    columns = ("command", "family", "converts", "same top-1", "largest difference", "ms", "MB")
    return markdown_table(columns, lines)


def main():
    arguments = parse_arguments()
    if arguments.table:
        rows = []
        for path in arguments.table:
            with open(path, newline="", encoding="utf-8") as file:
                rows += [Row(**row) for row in csv.DictReader(file)]
        print(table(list({row[:3]: row for row in rows}.values())))  # of several files the last one holds
        return
    paths = find_images(arguments.photos)
    if len(paths) < COMPARED + CALIBRATION:
        raise DataError(f"{arguments.photos}: {len(paths)} images; give {COMPARED + CALIBRATION} or more")
    chosen = np.random.default_rng(0).permutation(len(paths))
    compared = [paths[index] for index in chosen[:COMPARED]]
    calibration = [paths[index] for index in chosen[COMPARED : COMPARED + CALIBRATION]]
    images = np.stack(list(prepared(OPS, SHAPE, calibration)))
    rows = []
    for network in arguments.networks or [one for family in REFERENCES for one in list_models(f"{family}_*")]:
        for row in measure(network, arguments, compared, images):
            print(" | ".join(map(str, row)), flush=True)
            rows.append(row)
        if arguments.csv:
            write_csv(arguments.csv, Row._fields, rows)
    print()
    print(table(rows))
    print(harness.machine())


if __name__ == "__main__":
    cli.run(main)
