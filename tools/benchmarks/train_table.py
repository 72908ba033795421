"""Training speed here and in PyTorch as a Markdown table, from CSV files of tools/benchmarks/train.py.

    python tools/benchmarks/train_table.py output/train.csv

A row is a network and a size, a column a batch size and an instruction set. A cell has the samples/s of the project's
operators and of PyTorch, and how many times as fast the former are: the median of the quotients within a round, in
brackets the least and the greatest. Under the table stands how far the rounds of one case lay apart, and on what they
were measured. Of several files the last one holds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.bench import harness
from ppcls_light.errors import DataError
from tools.benchmarks.table import number, read_rows, spread_text
from tools.benchmarks.train import AVX2, NATIVE, OWN, TORCH

_TITLES = {NATIVE: "all instructions", AVX2: "AVX2"}
_RATIOS = ("times PyTorch", "least", "greatest")


def _or_none(text):
    return number(float)(text) if text else None


_READERS = {
    **dict.fromkeys(("model", "instructions", "operators", "environment"), str),
    **dict.fromkeys(("batch", "pixels", "threads", "rounds"), number(int)),
    **dict.fromkeys(("samples/s", "slowest round", "fastest round"), number(float)),
    **dict.fromkeys(_RATIOS, _or_none),
}


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("csv", metavar="CSV", nargs="+")
    return parser.parse_args()


def table(rows):
    """Return the Markdown table and two lines below. Raises DataError: no row of ours stands beside PyTorch's."""
    found = {
        (row["model"], row["pixels"], row["batch"], row["instructions"], row["operators"]): row
        for row in rows
        if row["times PyTorch"]
    }
    cells, used = {}, []
    for (*case, operators), ours in found.items():
        theirs = found.get((*case, TORCH))
        if operators != OWN or theirs is None:
            continue
        times, least, greatest = (ours[name] for name in _RATIOS)
        rates = " / ".join(_rate(row["samples/s"]) for row in (ours, theirs))
        model, pixels, batch, instructions = case
        columns = cells.setdefault((model, pixels), {})
        columns[batch, instructions] = f"{rates}, {times:.2f}x ({least:.2f}-{greatest:.2f})"
        used += [ours, theirs]
    if not used:
        raise DataError("no row has PyTorch's beside it; give --torch-python to tools/benchmarks/train.py")
    order = list(_TITLES)
    settings = sorted(
        {setting for of in cells.values() for setting in of}, key=lambda one: (one[0], order.index(one[1]))
    )
    columns = [f"batch {batch}, {_TITLES[instructions]}" for batch, instructions in settings]
    lines = [[*key, *(of.get(setting, "") for setting in settings)] for key, of in cells.items()]
    spread = spread_text([row["fastest round"] / row["slowest round"] for row in used])
    rounds, threads = min(row["rounds"] for row in used), used[0]["threads"]
    measured = f"{used[0]['environment']}; {threads} threads, {rounds} interleaved rounds"
    return f"{markdown_table(['network', 'pixels', *columns], lines)}\n{spread}; {measured}\n"


def _rate(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main():
    arguments = parse_arguments()
    rows = read_rows(arguments.csv, _READERS, "train.py", "environment")
    print(table(rows), end="")


if __name__ == "__main__":
    cli.run(main)
