"""Score trained weights on the images of DataLoader.Eval, and choose the threshold of their answers.

%(prog)s output/photos
%(prog)s output/photos --choose-threshold f1
%(prog)s -c CONFIG -o Global.pretrained_model=output/photos/best_model
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser)
    cli.add_dry_run(parser)
    add = parser.add_argument
    add("--predictions", metavar="FILE", help="write one JSON row per image")
    add(
        "--report",
        metavar="DIR",
        help="write report.html and its tables: classes, mistakes, label errors, calibration",
    )
    add(
        "--latency",
        action="store_true",
        help="measure the engines of the export of these weights for the report",
    )
    add(
        "--label-next",
        metavar="FOLDER",
        help="show in the report which images of this folder to label next",
    )
    add("--label-count", metavar="N", type=int, help="that many of them (default: 100)")
    add(
        "--choose-threshold",
        metavar="RULE",
        help="choose the threshold of class 1 of two, or of each tag, and keep it beside the weights: tpr@fpr=0.001, "
        "f1, precision=0.95 or recall=0.9",
    )


def main(arguments: argparse.Namespace) -> None:
    options = {
        "--predictions": arguments.predictions,
        "--report": arguments.report,
        "--latency": arguments.latency,
        "--label-next": arguments.label_next,
        "--label-count": arguments.label_count,
        "--choose-threshold": arguments.choose_threshold,
    }
    cli.run_job("evaluate", arguments, options)
