"""Train a network.

%(prog)s -c configs/quick_start/digits.yaml -o Global.epochs=20
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config(parser)
    cli.add_dry_run(parser)
    parser.add_argument("-p", "--profiler_options", metavar="KEY=VALUE;...", help="profile a range of steps")


def main(arguments: argparse.Namespace) -> None:
    cli.run_job("train", arguments, {"-p": arguments.profiler_options})
