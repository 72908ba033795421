"""Suggest a learning rate by a range test.

%(prog)s -c CONFIG [-o Section.key=value ...]
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config(parser)
    add = parser.add_argument
    add("--low", type=float, default=1e-5, help="learning rate of the first step; default 1e-5")
    add("--high", type=float, default=10.0, help="that of the last; default 10")
    add("--steps", type=int, default=300, help="updates between the two; default 300")
    add(
        "--out", metavar="FOLDER", help="gets points.csv and curve.png; default: find_lr in Global.output_dir"
    )


def main(arguments: argparse.Namespace) -> None:
    config = cli.parse_config(arguments)
    from .. import jobs

    jobs.find_lr(config, arguments.low, arguments.high, arguments.steps, arguments.out)
