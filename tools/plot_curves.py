"""Learning curves of training runs side by side: python tools/plot_curves.py output/a output/b --out curves"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli
from ppcls_light.base.figures import check_matplotlib, save_figure
from ppcls_light.report.curves import draw_curves, read_runs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="+", metavar="OUTPUT_DIR", help="Global.output_dir of a training run"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="written as FILE.png and FILE.svg; default: curves in OUTPUT_DIR, or here for several; "
        "a picture of other runs that is there moves to previous_N",
    )
    arguments = parser.parse_args()
    check_matplotlib("plot_curves")
    runs = read_runs(arguments.folders)
    default = os.path.join(arguments.folders[0], "curves") if len(runs) == 1 else "curves"
    # The same runs, which may have gone on, are drawn over themselves.
    source = " ".join(map(os.path.abspath, arguments.folders))
    for file in save_figure(draw_curves(runs), arguments.out or default, source):
        print(file)


if __name__ == "__main__":
    cli.run(main)
