"""The ratios in CSV files of tools/benchmarks/models.py as a Markdown table: a row per model, a column per batch.

    python tools/benchmarks/table.py output/speed.csv
    python tools/benchmarks/table.py output/speed.csv --engine paddle --against "PaddleClas in paddle"

A cell is the milliseconds of a batch in --engine, with what "auto" chose, and how many times as fast that is as the
fastest of --against: the median over the rounds of the quotient within a round. Under the table stands how far the
rounds of one cell lay apart. Of several files the last one holds.
"""

import csv
import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.bench import harness
from ppcls_light.bench.comparison import OURS
from ppcls_light.errors import DataError


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("csv", metavar="CSV", nargs="+")
    add_selection(parser)
    parser.add_argument(
        "--against", nargs="+", metavar="PEER", help="as the column 'ratios' names it; default: all"
    )
    return parser.parse_args()


def add_selection(parser):
    parser.add_argument("--engine", default="auto", help="of this project's networks (default auto)")
    parser.add_argument("--precision", default="fp32", help="of the same (default fp32)")


def number(kind):
    """Return a reader of a finite number over 0."""

    def parse(text):
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    return parse


def _ratios(text):
    """Return {peer: how many times as fast}."""
    parts = (one.rsplit(" ", 1) for one in text.split("; ") if one)
    return {name: number(float)(value) for name, value in parts}


_READERS = {
    **dict.fromkeys(("model", "network", "engine", "precision", "runs as", "peer", "machine"), str),
    **dict.fromkeys(("batch", "threads"), number(int)),
    **dict.fromkeys(("median ms", "images/s", "fastest round", "slowest round"), number(float)),
    "ratios": _ratios,
}


def read_rows(paths, readers=_READERS, tool="models.py", machine="machine"):
    """Return the rows of CSV files of a tool: {column: what its reader makes of the text}.

    The column `machine` must be the same in all. Raises DataError.
    """
    rows = [row for path in paths for row in _rows_of(path, readers, tool)]
    machines = sorted({row[machine] for row in rows})
    if len(machines) > 1:
        raise DataError(
            f"{', '.join(map(str, paths))}: measured on {' and on '.join(machines)}; give files of one"
        )
    return rows


def _rows_of(path, readers, tool):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}; give a CSV file") from None
    if not rows or not set(rows[0]) >= set(readers):
        raise DataError(f"{path} is no CSV of tools/benchmarks/{tool}; make one with its --csv")
    for count, row in enumerate(rows, 1):
        for column, read in readers.items():
            try:
                if row[column] is None:  # the row ends before it
                    raise ValueError
                row[column] = read(row[column])
            except ValueError:
                raise DataError(
                    f"{path}: row {count}: '{column}' is {row[column]!r}; make the file anew, or take it out"
                ) from None
    return rows


def table(rows, engine, precision, against=None):
    """Return the Markdown table, and a line below. Raises DataError when nothing was measured so."""
    peers = sorted({peer for row in rows for peer in row["ratios"]})
    unknown = [peer for peer in against or () if peer not in peers]
    if unknown:
        raise DataError(f"--against: no peer '{unknown[0]}'; there are: {', '.join(peers)}")
    cells, spreads = {}, {}
    for row in rows:
        known = [ratio for peer, ratio in row["ratios"].items() if not against or peer in against]
        if row["network"] in OURS and (row["engine"], row["precision"]) == (engine, precision) and known:
            setting, median = (row["batch"], row["threads"]), row["median ms"]
            chosen = f" {row['runs as'].removeprefix('auto: ').partition(' ')[0]}" if engine == "auto" else ""
            milliseconds = f"{median:.0f}" if median >= 100 else f"{median:.3g}"
            cells.setdefault(row["model"], {})[setting] = f"{milliseconds}{chosen}, {min(known):.2f}x"
            spreads[row["model"], setting] = row["slowest round"] / row["fastest round"]
    if not cells:
        there = sorted({f"{row['engine']} {row['precision']}" for row in rows if row["ratios"]})
        raise DataError(
            f"no row of engine {engine}, precision {precision} that was compared with a peer; there are: "
            f"{', '.join(there) or 'none, so give --peer to tools/benchmarks/models.py'}"
        )
    settings = sorted({setting for of in cells.values() for setting in of})
    columns = [f"batch {batch}, {threads_text(count)}" for batch, count in settings]
    lines = [[model, *(of.get(setting, "") for setting in settings)] for model, of in cells.items()]
    return f"{markdown_table(['model', *columns], lines)}\n{spread_text(spreads.values())}\n"


def spread_text(quotients):
    """Return the line on how far the rounds of the cells lay apart."""
    return f"slowest round / fastest: {statistics.median(quotients):.2f} in the median, {max(quotients):.2f} at most"


def threads_text(count):
    return f"{count} thread{'s' * (count > 1)}"


def main():
    arguments = parse_arguments()
    rows = read_rows(arguments.csv)
    print(table(rows, arguments.engine, arguments.precision, arguments.against), end="")


if __name__ == "__main__":
    cli.run(main)
