"""Report on this environment for a bug report: versions, processor, engines, caches, known faults.

    %(prog)s
    %(prog)s inference

The text has no user name, no home folder, no password and no token. Exit code 1: something in it is to be mended.
"""

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="also an exported folder and its engine.json"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def main(arguments: argparse.Namespace) -> None:
    from ..doctor import examine

    print("each package is imported in a process of its own, some seconds", file=sys.stderr)
    report = examine(arguments.folder)
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else report)
    sys.stdout.flush()
    sys.exit(1 if report.breaks else 0)
