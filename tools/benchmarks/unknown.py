"""Unknown images by an export's scores: AUROC, false positives, and calibration, on labelled photos and on others.

    python tools/export_model.py -c configs/quick_start/clothing10.yaml -o Global.pretrained_model=FILE \\
        Global.unknown=energy Global.save_inference_dir=output/energy                  # and so for distance
    python tools/benchmarks/unknown.py --model output/energy output/distance --data dataset/clothing10 \\
        --unknown CIFAR-10=cifar10.zip "text lines"=textline_crops.zip

The labelled photos are those of DATA/test_list.txt (tools/make_list.py), which took no part in training or fit.
Unknown ones are in a folder or a ZIP, of which at most --most are drawn. The score of each image is what a row says.
AUROC: the probability that an unknown image scores above a labelled photo. FPR95: the share of unknown images that pass
where 95 % of the labelled photos do. "called unknown" is what the thresholds of the folder do. The calibration error is
of the labelled photos.

One class against the others: lists without the photos of the last class, a training on them with Arch.class_num=9, and
that class' photos as the unknown ones.
"""

import argparse
import contextlib
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import numpy as np
from sklearn.metrics import roc_auc_score

from ppcls_light.base.probabilities import reliability
from ppcls_light.base.tables import markdown_table
from ppcls_light.bench import harness
from ppcls_light.bundle import read_bundle
from ppcls_light.data.scan import find_images
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.prediction import Predictor


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("--model", required=True, nargs="+", metavar="FOLDER", help="exported with unknown")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="with test_list.txt")
    parser.add_argument(
        "--unknown", required=True, nargs="+", type=named, metavar="NAME=PATH", help="folders or ZIP files"
    )
    parser.add_argument("--most", type=cli.positive, default=1000, help="unknown images of each (1000)")
    return parser.parse_args()


def named(text):
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text}: write NAME=PATH")
    return name, path


@contextlib.contextmanager
def images_of(path, most):
    """Yield the paths of at most `most` images of a folder or a ZIP, drawn with a fixed seed."""
    with contextlib.ExitStack() as ends:
        if path.lower().endswith(".zip"):
            folder = ends.enter_context(tempfile.TemporaryDirectory())
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
            path = folder
        found = find_images(path)
        places = np.sort(np.random.default_rng(0).permutation(len(found))[:most])
        yield [found[place] for place in places]


def scores_of(predictor, paths):
    """Return (scores (N,), unknown (N,)) of the images that can be used."""
    rows = [row for row in predictor.predict(paths) if "error" not in row]
    return (np.array([row[key] for row in rows]) for key in ("unknown_score", "unknown"))


def auroc(known, unknown):
    """Return the probability that an unknown image scores above a known one."""
    return float(
        roc_auc_score(np.repeat([0, 1], [len(known), len(unknown)]), np.concatenate([known, unknown]))
    )


def false_positives(known, unknown, share=0.95):
    """Return the share of unknown images that pass where `share` of the known ones do."""
    return float((unknown <= np.quantile(known, share, method="inverted_cdf")).mean())


def labelled(data):
    """Return (paths, labels (N,)) of DATA/test_list.txt."""
    lines = Path(data, "test_list.txt").read_text(encoding="utf-8").splitlines()
    paths, labels = zip(*(line.rsplit(" ", 1) for line in lines))
    return [str(Path(data, path)) for path in paths], np.array(labels, int)


def calibration(bundle, paths, labels):
    """Return (ECE, top-1) before and after, shares, on labelled photos."""
    found = []
    for one in (replace(bundle, unknown=None), bundle):
        predictor = Predictor(one, batch_size=8)
        probs = np.concatenate([predictor.run(predictor.preprocess(path)[None]) for path in paths])
        right = probs.argmax(axis=1) == labels
        found.append((reliability(probs.max(axis=1), right).ece, right.mean()))
    return found


def main():
    arguments = parse_arguments()
    paths, labels = labelled(arguments.data)
    detection, calibrated = [], []
    for folder in arguments.model:
        bundle = read_bundle(folder)
        if bundle.unknown is None:
            raise ConfigError(f"{folder}: exported without unknown; export it with -o Global.unknown=energy")
        predictor, score = Predictor(bundle, batch_size=8), bundle.unknown.score
        known, flagged = scores_of(predictor, paths)
        if len(known) < len(paths):
            raise DataError(f"{len(paths) - len(known)} photos of {arguments.data} cannot be used")
        detection.append((score, "labelled photos", len(known), "", "", f"{100 * flagged.mean():.1f}"))
        for name, source in arguments.unknown:
            with images_of(source, arguments.most) as others:
                unknown, flagged = scores_of(predictor, others)
            numbers = auroc(known, unknown), false_positives(known, unknown), flagged.mean()
            detection.append((score, name, len(unknown), *(f"{100 * number:.1f}" for number in numbers)))
        (before, top1), (after, same) = calibration(bundle, paths, labels)
        cells = (before, after, top1, same)
        calibrated.append(
            (
                score,
                f"{bundle.unknown.temperature:.3f}",
                len(labels),
                *(f"{100 * cell:.2f}" for cell in cells),
            )
        )
    columns = ("score", "images", "n", "AUROC (%)", "FPR95 (%)", "called unknown (%)")
    print(markdown_table(columns, detection))
    columns = ("export", "temperature", "n", "ECE before (%)", "after", "top-1 before (%)", "after")
    print(markdown_table(columns, calibrated), end="")


if __name__ == "__main__":
    cli.run(main)
