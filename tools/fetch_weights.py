"""Fetch published weights: python tools/fetch_weights.py NETWORK[/TRAINING] ... | --all [--record] | --list"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "networks", nargs="*", metavar="NETWORK[/TRAINING]", help="for example PPLCNet_x1_0/ssld"
    )
    parser.add_argument("--all", action="store_true", help="every training of every network, 1.4 GB")
    parser.add_argument("--list", action="store_true", help="print the table of published weights and end")
    parser.add_argument(
        "--record",
        action="store_true",
        help="fetch the file of every address anew, and write its SHA-256 into the table where it has none",
    )
    args = parser.parse_args()
    from ppcls_light.engine.log import setup_logging
    from ppcls_light.errors import ConfigError, UserError, WeightsError
    from ppcls_light.weights import list_pretrained, local_file, record_sums
    from ppcls_light.weights.published import training

    if args.list:
        print(list_pretrained())
        return
    if bool(args.networks) == args.all:
        raise ConfigError("name networks, or give --all; --list prints those there are")
    if args.record and any(os.environ.get(name) for name in ("PPCLS_LIGHT_MIRROR", "HF_ENDPOINT")):
        raise ConfigError(
            "--record is about the addresses themselves; unset PPCLS_LIGHT_MIRROR and HF_ENDPOINT"
        )
    setup_logging()
    named = [name.partition("/") for name in args.networks]
    rows = list_pretrained() if args.all else [training(network, name or None) for network, _, name in named]
    failed = 0
    for row in rows:
        try:
            if args.record:
                record_sums(row)
            else:
                file = local_file(row.name, row.network)
                print(f"{row.network} {row.name}: {file.path} ({file.origin}), SHA-256 {file.sha256}")
        except UserError as problem:
            failed += 1
            print(f"error: {problem}", file=sys.stderr)
    if failed:
        raise WeightsError(
            f"{failed} of {len(rows)} trainings have a file that could not be fetched; see above"
        )


if __name__ == "__main__":
    cli.run(main)
