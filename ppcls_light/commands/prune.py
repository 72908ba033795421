"""Remove filters of a trained network: a smaller dense network with its own config.

%(prog)s output/photos --out FOLDER
%(prog)s -c CONFIG -o Global.pretrained_model=FILE --out FOLDER
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser)
    add = parser.add_argument
    add("--ratio", type=float, default=0.3, help="share of the filters to remove; default 0.3")
    add(
        "--criterion",
        choices=("l1_norm", "fpgm"),
        default="l1_norm",
        help="which go: those of the least L1 norm, or nearest to the geometric median; default l1_norm",
    )
    add("--out", required=True, metavar="FOLDER", help="gets pruned.pdparams and config.yaml")


def main(arguments: argparse.Namespace) -> None:
    config = cli.parse_config(arguments)
    from .. import jobs

    jobs.prune(config, arguments.ratio, arguments.criterion, arguments.out)
