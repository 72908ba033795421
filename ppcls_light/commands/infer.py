"""Classify images with trained weights, by the code of the training.

%(prog)s output/photos -o Infer.infer_imgs=FILE_OR_FOLDER
%(prog)s -c CONFIG -o Infer.infer_imgs=FILE_OR_FOLDER
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser)
    cli.add_dry_run(parser)
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="write thumbnails with truth, prediction and score, a PNG or JPEG",
    )


def main(arguments: argparse.Namespace) -> None:
    cli.run_job("infer", arguments, {"--picture": arguments.picture})
