"""Top-1 after further labels for the images that tools/eval.py --label-next would choose, and for others.

    python tools/similar.py index --model MODEL --out train.npz dataset/clothing10/train
    python tools/benchmarks/label_next.py --index train.npz

The index is of class folders. A seed draws LABELLED images of each class and a third of all as a test; COUNT more are
chosen from the rest, and logistic regression on the embeddings stands for the network. "margin" takes the images of
least margin alone, "chosen" those of report.label_next, "random" any.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import numpy as np
from sklearn.linear_model import LogisticRegression

from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.base.timing import Spread
from ppcls_light.bench import harness
from ppcls_light.errors import DataError
from ppcls_light.prediction.neighbours import Index
from ppcls_light.report.label_next import Candidates, margins

STRENGTH = 1e-2  # inverse, of the L2 penalty
CASES = ("without", "random", "margin", "chosen")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("--index", required=True, metavar="FILE.npz", help="of tools/similar.py index")
    parser.add_argument("--labelled", type=cli.positive, default=10, help="of each class (default: 10)")
    parser.add_argument("--count", type=cli.positive, default=100, help="chosen (default: 100)")
    parser.add_argument("--seeds", type=cli.positive, default=20, help="default: 20")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there, one for each seed")
    return parser.parse_args()


def split(labels, labelled, rng):
    """Return the places of the labelled images, of those to choose from, and of the test."""
    order = rng.permutation(len(labels))
    test, rest = order[: len(order) // 3], order[len(order) // 3 :]
    first = [rest[labels[rest] == label][:labelled] for label in np.unique(labels)]
    if min(map(len, first)) < labelled:
        raise DataError(f"--labelled {labelled}: a class has fewer images beside the test's third")
    known = np.concatenate(first)
    return known, np.setdiff1d(rest, known), test


def choose(case, probabilities, embeddings, count, rng):
    """Return the places of up to `count` of the N images with these probabilities (N, K)."""
    if case == "without":
        return np.zeros(0, int)
    if case == "random":
        return rng.permutation(len(embeddings))[:count]
    if case == "margin":
        return np.argsort(margins(probabilities), kind="stable")[:count]
    candidates = Candidates(count)
    candidates.add([str(place) for place in range(len(embeddings))], probabilities, embeddings)
    return np.array([int(path) for path in candidates.chosen().paths])


def measure(embeddings, labels, labelled, count, seed):
    """Return the top-1 in percent of each of `CASES`."""
    rng = np.random.default_rng(seed)
    known, rest, test = split(labels, labelled, rng)
    scaled = (embeddings - embeddings.mean(axis=0)) / (embeddings.std(axis=0) + 1e-6)

    def fitted(places):
        return LogisticRegression(C=STRENGTH, max_iter=1000).fit(scaled[places], labels[places])

    probabilities = fitted(known).predict_proba(scaled[rest])
    more = (rest[choose(case, probabilities, embeddings[rest], count, rng)] for case in CASES)
    return [100 * fitted(np.append(known, places)).score(scaled[test], labels[test]) for places in more]


def main():
    arguments = parse_arguments()
    index = Index.read(arguments.index)
    _, labels = index.classes()
    rows = [
        measure(index.embeddings, labels, arguments.labelled, arguments.count, seed)
        for seed in range(arguments.seeds)
    ]
    if arguments.csv:
        write_csv(arguments.csv, ("seed", *CASES), [(seed, *row) for seed, row in enumerate(rows)])
    gains = np.array(rows) - np.array(rows)[:, [CASES.index("random")]]
    error = gains.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.full(len(CASES), np.nan)
    table = [
        (case, *(f"{value:.1f}" for value in Spread.of(column)), f"{gain:+.1f} ± {spread:.1f}")
        for case, column, gain, spread in zip(CASES, zip(*rows), gains.mean(axis=0), error)
    ]
    columns = (
        f"{len(rows)} seeds",
        "top-1 %, median",
        "least",
        "greatest",
        "over random, mean ± standard error",
    )
    sys.stdout.write(markdown_table(columns, table))


if __name__ == "__main__":
    cli.run(main)
