"""Check the images and labels of a training before it: python tools/check_data.py -c CONFIG, or a folder."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

# isort: split

from ppcls_light.check.embeddings import embedder
from ppcls_light.check.job import check_data, check_kinds
from ppcls_light.check.kinds import DROPPED, KINDS, Limits
from ppcls_light.check.splits import splits_of_folder
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError

WEIGHTS = (".pdparams", ".safetensors")
# {field of Limits: (option, meaning)}
THRESHOLDS = {
    "dark": ("--dark", "luminance, of 255, that 95 %% of the pixels of a nearly black picture do not exceed"),
    "contrast": ("--contrast", "least standard deviation of the luminance of a picture of several colours"),
    "sharpness": (
        "--sharpness",
        "least standard deviation of the Laplacian, at 128 pixels, of a sharp picture",
    ),
    "distance": ("--hash-distance", "most bits of 64 in which two hashes of the same picture differ"),
    "correlation": ("--color-correlation", "least correlation of the colours of the same picture"),
    "side": ("--side", "least pixels of the shorter side"),
    "aspect": ("--aspect", "most of longer side over shorter side"),
    "cosine": ("--cosine", "least cosine of two embeddings of the same picture"),
    "label_share": (
        "--label-share",
        "most of the 20 nearest images, as a share, that have a suspected label",
    ),
    "outlier": (
        "--outlier",
        "most distance to the nearest images, in interquartile ranges above the third quartile",
    ),
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"Kinds of findings: {', '.join(KINDS)}.")
    add = parser.add_argument
    add("folder", nargs="?", help="class folders, or train_list.txt, val_list.txt, test_list.txt")
    add("-c", "--config", metavar="FILE", help="YAML config, whose Train and Eval are checked")
    cli.add_override(parser)
    add("--out", metavar="DIR", help="report (default: check_data in Global.output_dir, or in output/FOLDER)")
    add(
        "--fix",
        nargs="?",
        metavar="KINDS",
        const=",".join(DROPPED),
        help=f"write lists without images of these kinds to DIR/lists (default: {','.join(DROPPED)})",
    )
    add(
        "--strict",
        nargs="?",
        metavar="KINDS",
        const=",".join(KINDS),
        help="exit code 1 when these kinds (default: all) are found",
    )
    add(
        "--embeddings",
        metavar="MODEL",
        help="finds suspect labels, outliers and further copies by an export with embeddings, an ONNX file or, with "
        "-c, weights of a training",
    )
    add("--workers", type=int, metavar="N", help="processes that read; 0: none but this")
    for field, (option, text) in THRESHOLDS.items():
        default = getattr(Limits(), field)
        add(
            option, dest=field, type=type(default), default=default, metavar="N", help=f"{text} (%(default)s)"
        )
    args = parser.parse_args()
    if (args.folder is None) == (args.config is None):
        parser.error("give a folder, or a config by -c")
    return args


def main():
    """Exit with 0 whatever was found, 1 if --strict names it, 2 for an error of the user's."""
    args = parse_args()
    strict, fix = kinds_of("--strict", args.strict), kinds_of("--fix", args.fix)
    limits = Limits(**{field: getattr(args, field) for field in THRESHOLDS})
    splits, embed, title, out = of_config(args) if args.config else of_folder(args)
    found, lines = check_data(splits, args.out or out, limits, title, args.workers, fix, embed)
    print(*lines, sep="\n")
    if any(finding.kind in strict for finding in found):
        sys.exit(1)


def kinds_of(option, text):
    """Return the kinds of findings in the comma-separated `text` of an option."""
    kinds = [kind.strip() for kind in (text or "").split(",") if kind.strip()]
    check_kinds(option, kinds)
    return kinds


def of_folder(args):
    """Return the splits of the folder, the function that embeds, the title of the report and the folder for it."""
    if args.override:
        raise ConfigError("-o changes a config; give one by -c")
    if args.embeddings and args.embeddings.endswith(WEIGHTS):
        raise ConfigError("--embeddings: weights need the config of their network; give it by -c")
    name = os.path.basename(os.path.abspath(args.folder))
    embed = embedder(args.embeddings) if args.embeddings else None
    return (
        splits_of_folder(args.folder),
        embed,
        f"Data of {args.folder}",
        os.path.join("output", name, "check_data"),
    )


def of_config(args):
    """Return the splits of the config, the function that embeds, the title of the report and the folder for it."""
    from ppcls_light.check.configured import embedder_of_weights, splits_of_config

    model, config = args.embeddings, load_config(args.config, cli.overrides(args))
    if model and model.endswith(WEIGHTS):
        embed = embedder_of_weights(config, model)
    else:
        embed = embedder(model) if model else None
    return (
        splits_of_config(config),
        embed,
        f"Data of {args.config}",
        os.path.join(config.Global.output_dir, "check_data"),
    )


if __name__ == "__main__":
    cli.run(main)
