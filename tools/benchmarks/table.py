"""The ratios in CSV files of tools/benchmarks/models.py as a Markdown table: a row per model, a column per batch.

    python tools/benchmarks/table.py output/speed.csv
    python tools/benchmarks/table.py output/speed.csv --engine paddle --against "PaddleClas in paddle"

A cell is the milliseconds of a batch in --engine, with what "auto" chose, and how many times as fast that is as the
fastest of --against: the median over the rounds of the quotient within a round. Under the table stands how far the
rounds of one cell lay apart. Of several files the last one holds.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.errors import DataError
from tools.benchmarks.comparison import OURS, read_ratios, read_rows


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", metavar="CSV", nargs="+")
    parser.add_argument("--engine", default="auto", help="of this project's networks (default auto)")
    parser.add_argument("--precision", default="fp32", help="of the same (default fp32)")
    parser.add_argument(
        "--against", nargs="+", metavar="PEER", help="as the column 'ratios' names it; default: all"
    )
    return parser.parse_args()


def table(rows, engine, precision, against=None):
    """Return the Markdown table, and a line below. Raises DataError when nothing was measured so."""
    peers = sorted({peer for row in rows for peer in read_ratios(row["ratios"])})
    unknown = [peer for peer in against or () if peer not in peers]
    if unknown:
        raise DataError(f"--against: no peer '{unknown[0]}'; there are: {', '.join(peers)}")
    cells, spreads = {}, {}
    for row in rows:
        ratios = read_ratios(row["ratios"])
        known = [ratios[peer] for peer in against or ratios if peer in ratios]
        if row["network"] in OURS and (row["engine"], row["precision"]) == (engine, precision) and known:
            setting = int(row["batch"]), int(row["threads"])
            chosen = f" {row['runs as'].removeprefix('auto: ').partition(' ')[0]}" if engine == "auto" else ""
            median = float(row["median ms"])
            milliseconds = f"{median:.0f}" if median >= 100 else f"{median:.3g}"
            cells.setdefault(row["model"], {})[setting] = f"{milliseconds}{chosen}, {min(known):.2f}x"
            spreads[row["model"], setting] = float(row["slowest round"]) / float(row["fastest round"])
    if not cells:
        there = sorted({f"{row['engine']} {row['precision']}" for row in rows if row["ratios"]})
        raise DataError(
            f"no row of engine {engine}, precision {precision} that was compared with a peer; there are: "
            f"{', '.join(there) or 'none, so give --peer to tools/benchmarks/models.py'}"
        )
    settings = sorted({setting for of in cells.values() for setting in of})
    columns = [f"batch {batch}, {count} thread{'s' * (count > 1)}" for batch, count in settings]
    lines = [[model, *(of.get(setting, "") for setting in settings)] for model, of in cells.items()]
    apart = spreads.values()
    spread = f"{statistics.median(apart):.2f} in the median, {max(apart):.2f} at most"
    return f"{markdown_table(['model', *columns], lines)}\nslowest round / fastest: {spread}\n"


def main():
    arguments = parse_arguments()
    rows = read_rows(arguments.csv)
    print(table(rows, arguments.engine, arguments.precision, arguments.against), end="")


if __name__ == "__main__":
    cli.run(main)
