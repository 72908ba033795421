"""Search for the settings of a training by trials: PaddleClas' stages, at random, by TPE or in a grid.

%(prog)s -c SEARCH --jobs 2
%(prog)s -c SEARCH -o trials=40 Global.epochs=5

`-o` sets a key of the search, or one of all its trainings.
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-c", "--config", required=True, metavar="SEARCH", help="YAML file of the search")
    cli.add_override(parser)
    add(
        "--jobs",
        type=cli.positive,
        metavar="N",
        help="trials at a time (default: one per GPU of the file; on CPU 1)",
    )
    add("--overwrite", action="store_true", help="move another search in output_dir to previous_N there")
    add("--dry-run", action="store_true", help="check that every value fits the training config, then stop")


def main(arguments: argparse.Namespace) -> None:
    from ..search import search

    search(arguments.config, cli.overrides(arguments), arguments.jobs, arguments.overwrite, arguments.dry_run)
