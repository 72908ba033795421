"""Draw the learning curves of trainings, side by side.

%(prog)s output/a output/b --out curves
"""

import argparse
import os


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folders", nargs="+", metavar="OUTPUT_DIR", help="Global.output_dir of a training run")
    add(
        "--out",
        metavar="FILE",
        help="written as FILE.png and FILE.svg; default: curves in OUTPUT_DIR, or here for several; "
        "a picture of other runs that is there moves to previous_N",
    )


def main(arguments: argparse.Namespace) -> None:
    from ..base.figures import check_matplotlib, save_figure
    from ..report.curves import draw_curves, read_runs

    check_matplotlib("curves")
    runs = read_runs(arguments.folders)
    default = os.path.join(arguments.folders[0], "curves") if len(runs) == 1 else "curves"
    # The same runs, which may have gone on, are drawn over themselves.
    source = " ".join(map(os.path.abspath, arguments.folders))
    for file in save_figure(draw_curves(runs), arguments.out or default, source):
        print(file)
