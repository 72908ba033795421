"""Share of planted wrong labels that are suspected (recall), and of the suspected ones that were planted (precision).

    python tools/benchmarks/label_errors.py -c configs/quick_start/clothing10.yaml -o Global.checkpoints=auto \\
        DataLoader.Eval.dataset.cls_label_path=dataset/clothing10/test_list.txt

Trained weights answer to the images of DataLoader.Eval, as in tools/eval.py --report; they must not be those of the
training, among which tools/benchmarks/check_data.py plants some. A seed gives PLANTED images the label of another
class, all equally likely. Labels that were wrong before count against the precision.
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

COLUMNS = ("seed", "images", "planted", "suspected", "recall", "precision", "precision of the first")


def parse_arguments():
    parser = cli.config_parser(__doc__)
    parser.add_argument("--planted", type=cli.positive, default=30, help="wrong labels (default: 30)")
    parser.add_argument("--seeds", type=cli.positive, default=20, help="of the planting (default: 20)")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there, one for each seed")
    return parser.parse_args()


def evaluated(config):
    """Return the labels (N,) and the probabilities (N, K) of an evaluation."""
    from ppcls_light import jobs

    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "rows.jsonl")
        jobs.evaluate(config, predictions=path)
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    probabilities = np.zeros((len(rows), len(rows[0]["scores"])))
    for own, row in zip(probabilities, rows):
        own[row["class_ids"]] = row["scores"]
    return np.array([row["label"] for row in rows]), probabilities


def plant(labels, class_num, count, seed):
    """Return labels of which `count` are wrong, and bool (N,): which."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(labels), count, replace=False)
    wrong = labels.copy()
    wrong[places] = (labels[places] + rng.integers(1, class_num, count)) % class_num
    return wrong, wrong != labels


def measure(labels, probabilities, count, seed):
    """Return a row of `COLUMNS`; the first are as many as were planted, the most suspicious."""
    wrong, planted = plant(labels, probabilities.shape[1], count, seed)
    suspects = suspected_errors(wrong, probabilities).indices
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
    labels, probabilities = evaluated(cli.parse_config(arguments))
    if probabilities.shape[1] < 2 or arguments.planted > len(labels):
        raise ConfigError(
            f"--planted: {len(labels)} images of {probabilities.shape[1]} classes cannot have so many wrong labels"
        )
    rows = [measure(labels, probabilities, arguments.planted, seed) for seed in range(arguments.seeds)]
    if arguments.csv:
        write_csv(arguments.csv, COLUMNS, rows)
    table = [(name, *map(shown, Spread.of(values))) for name, values in zip(COLUMNS, zip(*rows))]
    sys.stdout.write(markdown_table((f"{len(rows)} seeds", "median", "least", "greatest"), table[1:]))


if __name__ == "__main__":
    cli.run(main)
