"""Check the images and labels of a training before it: python tools/check_data.py -c CONFIG, or a folder."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

# isort: split

from ppcls_light.check.findings import DROPPED, KINDS, Limits
from ppcls_light.check.job import check_data, check_kinds
from ppcls_light.check.splits import splits_of_folder
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"Kinds of findings: {', '.join(KINDS)}.")
    parser.add_argument(
        "folder", nargs="?", help="class folders, or train_list.txt, val_list.txt, test_list.txt"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="YAML config, whose Train and Eval are checked"
    )
    cli.add_override(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="report (default: check_data in Global.output_dir or ./output)"
    )
    parser.add_argument(
        "--fix",
        nargs="?",
        metavar="KINDS",
        const=",".join(DROPPED),
        help=f"write lists without images of these kinds to DIR/lists (default: {','.join(DROPPED)})",
    )
    parser.add_argument(
        "--strict",
        nargs="?",
        metavar="KINDS",
        const=",".join(KINDS),
        help="exit code 1 when these kinds (default: all) are found",
    )
    parser.add_argument("--workers", type=int, help="processes that read; 0: none but this")
    limits = Limits()
    for option, name, kind, text in (
        (
            "--dark",
            "dark",
            float,
            "luminance, of 255, that 95 %% of the pixels of a nearly black picture do not exceed",
        ),
        (
            "--contrast",
            "contrast",
            float,
            "standard deviation of the luminance below which a picture is of one colour",
        ),
        (
            "--sharpness",
            "sharpness",
            float,
            "standard deviation of the Laplacian at 128 pixels below which a picture is blurred",
        ),
        ("--hash-distance", "distance", int, "most bits of 64 in which the same picture differs"),
        ("--color-correlation", "correlation", float, "least correlation of the colours of the same picture"),
        ("--side", "side", int, "pixels of the shorter side below which a picture is tiny"),
        (
            "--aspect",
            "aspect",
            float,
            "longer side over shorter side above which a picture is long and narrow",
        ),
    ):
        parser.add_argument(
            option, dest=name, type=kind, default=getattr(limits, name), help=f"{text} (default %(default)s)"
        )
    args = parser.parse_args()
    if (args.folder is None) == (args.config is None):
        parser.error("give a folder, or a config by -c")
    strict = kinds_of("--strict", args.strict)
    splits, title, out = of_config(args) if args.config else of_folder(args)
    limits = Limits(**{name: getattr(args, name) for name in Limits.__dataclass_fields__})
    found, lines = check_data(
        splits, args.out or out, limits, title, args.workers, kinds_of("--fix", args.fix)
    )
    print(*lines, sep="\n")
    if any(finding.kind in strict for finding in found):
        sys.exit(1)


def kinds_of(option, text):
    """Return the kinds of findings in the comma-separated `text` of an option."""
    kinds = [kind.strip() for kind in (text or "").split(",") if kind.strip()]
    check_kinds(option, kinds)
    return kinds


def of_folder(args):
    """Return the splits of the folder, the title of the report and the folder for it."""
    if args.override:
        raise ConfigError("-o changes a config; give one by -c")
    name = os.path.basename(os.path.abspath(args.folder))
    return splits_of_folder(args.folder), f"Data of {name}", os.path.join("output", name, "check_data")


def of_config(args):
    """Return the splits of the config, the title of the report and the folder for it."""
    config = load_config(args.config, cli.overrides(args))
    from ppcls_light.check.configured import splits_of_config

    return (
        splits_of_config(config),
        f"Data of {args.config}",
        os.path.join(config.Global.output_dir, "check_data"),
    )


if __name__ == "__main__":
    cli.run(main)
