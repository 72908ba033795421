"""Accuracy against latency and throughput, as the papers draw it, from a CSV of tools/benchmarks/models.py.

    python tools/benchmarks/plot.py output/speed.csv --out output/speed

Top-1 is what the authors published, not measured here; times are those of the file. Full marks are this project's,
hollow ones the fastest peer of each model.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.figures import check_matplotlib, new_figure, save_figure
from ppcls_light.bench import harness
from ppcls_light.bench.comparison import OURS
from ppcls_light.errors import DataError
from tools.benchmarks.table import add_selection, read_rows, threads_text

PANELS = (
    ("latency", "median ms", "ms per batch of {}", min),
    ("throughput", "images/s", "images/s, batch {}", max),
)


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("csv", metavar="CSV", nargs="+", help="one or several")
    add_selection(parser)
    parser.add_argument("--threads", type=cli.positive, default=1, help="default 1")
    parser.add_argument("--out", metavar="FILE", default="speed", help="written as FILE.png and FILE.svg")
    return parser.parse_args()


def family(model):
    """Return the family of a model's name and its variant in short: EdgeNeXt and XXS of EdgeNeXt_XX_Small."""
    first, _, variant = model.partition("_")
    if variant.endswith("_BN_HS"):
        first, variant = f"{first} BN-HS", variant[: -len("_BN_HS")]
    if variant[:1] == "x":  # a factor: x1_0
        return first, variant.replace("_", ".")
    return first, "".join(word if word.isupper() else word[:1] for word in variant.split("_"))


def points(rows, batch, column):
    """Return {family: [(value in `column`, top-1, variant, the fastest peer's value or None)]}, by top-1.

    `rows` are of one engine of ours, one precision and one number of threads, and of their peers.
    """
    from ppcls_light.models import published

    rows = [row for row in rows if row["batch"] == batch]
    peers = {
        (row["model"], f"{row['network']} in {row['engine']}"): row[column] for row in rows if not row["peer"]
    }
    top1, found = published(), {}
    for row in rows:
        if row["model"] in top1 and row["network"] in OURS:
            name, variant = family(row["model"])
            peer = peers.get((row["model"], row["peer"]))
            found.setdefault(name, []).append((row[column], top1[row["model"]], variant, peer))
    return {name: sorted(listed, key=lambda point: point[1]) for name, listed in found.items()}


def chosen(rows, engine, precision, threads):
    """Return the rows to draw and those of them that are of this project's networks. Raises DataError without any."""
    from ppcls_light.models import published

    kept = [
        row
        for row in rows
        if row["threads"] == threads
        and (row["network"] not in OURS or (row["engine"], row["precision"]) == (engine, precision))
    ]
    ours = [row for row in kept if row["network"] in OURS]
    if not ours:
        there = sorted({f"{row['engine']}, {row['precision']}, {row['threads']}" for row in rows})
        raise DataError(
            f"no row of engine {engine}, precision {precision}, threads {threads}; there are: {'; '.join(there)}"
        )
    if not any(row["model"] in published() for row in ours):
        raise DataError("none of these models has a published top-1 to be drawn at")
    return kept, ours


def draw(rows, ours):
    """Return a matplotlib Figure of the `chosen` rows: latency at the least batch, throughput at the largest."""
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import LogLocator, NullLocator

    figure = new_figure(12, 7)
    batches = {row["batch"] for row in ours}
    for axes, (title, column, label, pick) in zip(figure.subplots(1, 2, sharey=True), PANELS):
        batch = pick(batches)
        for index, (name, listed) in enumerate(points(rows, batch, column).items()):
            values, top1, variants, peers = zip(*listed)
            axes.plot(values, top1, "o-", color=f"C{index}", label=name, markersize=6)
            known = [(peer, accuracy) for peer, accuracy in zip(peers, top1) if peer is not None]
            if known:
                axes.plot(*zip(*known), "o--", color=f"C{index}", markerfacecolor="white", linewidth=0.8)
            for value, accuracy, variant in zip(values, top1, variants):
                # On one side of the line or on the other, so that near families keep apart.
                outside = (index % 2 == 0) == (pick is min)
                axes.annotate(
                    variant,
                    (value, accuracy),
                    xytext=(-6 if outside else 6, -10 if index % 2 else 3),
                    textcoords="offset points",
                    ha="right" if outside else "left",
                    fontsize=9,
                    color=f"C{index}",
                    path_effects=[withStroke(linewidth=1.5, foreground="white")],
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.12)
        axes.set_title(title)
        axes.set_xlabel(label.format(batch))
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("top-1 (%) as the authors published it")
    first.plot([], [], "o-", color="black", label="ppcls_light")
    if any(row["peer"] for row in ours):
        first.plot([], [], "o--", color="black", markerfacecolor="white", linewidth=0.8, label="fastest peer")
    row = ours[0]
    settings = threads_text(row["threads"]), f"engine {row['engine']}", row["precision"]
    figure.suptitle(", ".join([row["machine"], *settings]), fontsize=10)
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return figure


def main():
    arguments = parse_arguments()
    check_matplotlib("tools/benchmarks/plot.py")
    rows = chosen(read_rows(arguments.csv), arguments.engine, arguments.precision, arguments.threads)
    for file in save_figure(draw(*rows), arguments.out):
        print(file)


if __name__ == "__main__":
    cli.run(main)
