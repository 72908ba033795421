"""Fetch published weights ahead of time.

%(prog)s NETWORK[/TRAINING] ... PULC_person_exists ...
%(prog)s --all [--record]
%(prog)s --list
"""

import argparse
import os
import sys

from ..errors import ConfigError, UserError, WeightsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "networks",
        nargs="*",
        metavar="NAME",
        help="NETWORK, NETWORK/TRAINING such as PPLCNet_x1_0/ssld, or a scenario",
    )
    add("--all", action="store_true", help="every training of every network, and every scenario, 1.5 GB")
    add("--list", action="store_true", help="print the table of published weights and end")
    add(
        "--record",
        action="store_true",
        help="fetch the file of every address anew, and write its SHA-256 into the table where it has none",
    )


def main(arguments: argparse.Namespace) -> None:
    from ..engine.log import setup_logging
    from ..weights import list_pretrained, record_sums
    from ..weights.pretrained import fetched
    from ..weights.published import training
    from ..weights.scenarios import find_scenario, list_scenarios

    if arguments.list:
        print(list_pretrained())
        print(f"\nscenarios: {', '.join(row.name for row in list_scenarios())}")
        return
    if bool(arguments.networks) == arguments.all:
        raise ConfigError("name networks, or give --all; --list prints those there are")
    if arguments.record and any(os.environ.get(name) for name in ("PPCLS_LIGHT_MIRROR", "HF_ENDPOINT")):
        raise ConfigError(
            "--record is about the addresses themselves; unset PPCLS_LIGHT_MIRROR and HF_ENDPOINT"
        )
    setup_logging()
    named = [name.partition("/") for name in arguments.networks]
    rows = (
        [*list_pretrained(), *list_scenarios()]
        if arguments.all
        else [
            (not name and find_scenario(network)) or training(network, name or None)
            for network, _, name in named
        ]
    )
    failed = 0
    for row in rows:
        try:
            if arguments.record:
                record_sums(row)
            else:
                file = fetched(row)
                print(f"{row.title}: {file.path} ({file.origin}), SHA-256 {file.sha256}")
        except UserError as problem:
            failed += 1
            print(f"error: {problem}", file=sys.stderr)
    if failed:
        raise WeightsError(
            f"{failed} of {len(rows)} trainings have a file that could not be fetched; see above"
        )
