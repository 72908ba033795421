"""Suggest a learning rate by a range test: python tools/find_lr.py -c CONFIG [-o Section.key=value ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.config_parser(__doc__)
    parser.add_argument(
        "--low", type=float, default=1e-5, help="learning rate of the first step; default 1e-5"
    )
    parser.add_argument("--high", type=float, default=10.0, help="that of the last; default 10")
    parser.add_argument("--steps", type=int, default=300, help="updates between the two; default 300")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="gets points.csv and curve.png; default: find_lr in Global.output_dir",
    )
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import jobs

    jobs.find_lr(config, arguments.low, arguments.high, arguments.steps, arguments.out)


if __name__ == "__main__":
    cli.run(main)
