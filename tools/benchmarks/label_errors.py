"""Share of planted wrong labels that are suspected (recall), and of the suspected ones that were planted (precision).

    python tools/benchmarks/label_errors.py -c configs/quick_start/clothing10.yaml -o Global.checkpoints=auto \\
        DataLoader.Eval.dataset.cls_label_path=dataset/clothing10/test_list.txt
    python tools/benchmarks/label_errors.py --index train.npz

With a config, trained weights answer to the images of DataLoader.Eval, as in tools/eval.py --report: they must not be
those of the training. With an index of class folders (tools/similar.py index) the other images of the folder answer, as
in tools/similar.py labels. A seed gives PLANTED images the label of another class, all equally likely. Labels that were
wrong before count against the precision.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import numpy as np

from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.base.timing import Spread
from ppcls_light.errors import ConfigError
from ppcls_light.report.label_errors import suspected_errors
from tools.benchmarks import harness

COLUMNS = ("seed", "images", "planted", "suspected", "recall", "precision", "precision of the first")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML config of a trained network")
    cli.add_override(parser)
    parser.add_argument("--index", metavar="FILE.npz", help="of tools/similar.py index, in place of a config")
    parser.add_argument("--planted", type=harness.positive, default=30, help="wrong labels (default: 30)")
    parser.add_argument("--seeds", type=harness.positive, default=20, help="of the planting (default: 20)")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there, one for each seed")
    arguments = parser.parse_args()
    if (arguments.config is None) == (arguments.index is None):
        parser.error("give a config by -c, or an index by --index")
    return arguments


def evaluated(arguments):
    """Return the labels (N,), the number of classes, and a function: labels to probabilities (N, K)."""
    from ppcls_light import jobs, load_config

    config = load_config(arguments.config, cli.overrides(arguments))
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "rows.jsonl")
        jobs.evaluate(config, predictions=path)
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    probabilities = np.zeros((len(rows), len(rows[0]["scores"])))
    for own, row in zip(probabilities, rows):
        own[row["class_ids"]] = row["scores"]
    return np.array([row["label"] for row in rows]), probabilities.shape[1], lambda _: probabilities


def indexed(arguments):
    """Return what `evaluated` does, of an index; a wrong label also misleads the images around it."""
    from ppcls_light.predict.neighbours import Index, votes
    from ppcls_light.predict.similar import VOTERS

    index = Index.read(arguments.index)
    names, labels = index.classes()
    ids, cosines = index.others(VOTERS)
    return labels, len(names), lambda given: votes(given[ids], cosines, len(names))


def plant(labels, class_num, count, seed):
    """Return labels of which `count` are wrong, and bool (N,): which."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(labels), count, replace=False)
    wrong = labels.copy()
    wrong[places] = (labels[places] + rng.integers(1, class_num, count)) % class_num
    return wrong, wrong != labels


def measure(labels, class_num, answer, count, seed):
    """Return a row of `COLUMNS`; the first are as many as were planted, the most suspicious."""
    wrong, planted = plant(labels, class_num, count, seed)
    suspects = suspected_errors(wrong, answer(wrong)).indices
    found = planted[suspects]
    precision = found.mean() if len(found) else float("nan")
    return (
        seed,
        len(labels),
        count,
        len(suspects),
        found.sum() / count,
        precision,
        found[:count].sum() / count,
    )


def shown(value):
    """Return a share in percent, and a number as it is."""
    return f"{100 * value:.0f} %" if isinstance(value, float) and value <= 1 else f"{value:,g}"


def main():
    arguments = parse_arguments()
    labels, class_num, answer = indexed(arguments) if arguments.index else evaluated(arguments)
    if class_num < 2 or arguments.planted > len(labels):
        raise ConfigError(
            f"--planted: {len(labels)} images of {class_num} classes cannot have so many wrong labels"
        )
    rows = [measure(labels, class_num, answer, arguments.planted, seed) for seed in range(arguments.seeds)]
    if arguments.csv:
        write_csv(arguments.csv, COLUMNS, rows)
    table = [(name, *map(shown, Spread.of(values))) for name, values in zip(COLUMNS, zip(*rows))]
    sys.stdout.write(markdown_table((f"{len(rows)} seeds", "median", "least", "greatest"), table[1:]))


if __name__ == "__main__":
    cli.run(main)
