"""Fit a classifier on a large network's embeddings, as the teacher of a small one.

%(prog)s -c CONFIG --out FOLDER
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config(parser)
    add = parser.add_argument
    add("--out", required=True, metavar="FOLDER", help="gets inference.onnx and inference.yml")
    add(
        "--teacher",
        metavar="NAME",
        help="whose embeddings; default: the one of the config's DistillationFeatureLoss",
    )


def main(arguments: argparse.Namespace) -> None:
    config = cli.parse_config(arguments)
    from .. import jobs

    jobs.fit_teacher(config, arguments.out, arguments.teacher)
