"""Check the images and labels of a training before it.

%(prog)s PHOTOS
%(prog)s -c CONFIG
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from .. import cli
from ..base.run_folder import RUN_CONFIG, is_run
from ..check.kinds import DROPPED, KINDS, Limits, check_kinds
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..check.embeddings import Embed
    from ..check.splits import Splits

_WEIGHTS = (".pdparams", ".safetensors")
# {field of Limits: (option, meaning)}
_THRESHOLDS = {
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"Kinds of findings: {', '.join(KINDS)}."
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="class folders, or train_list.txt, val_list.txt, test_list.txt",
    )
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
    for field, (option, text) in _THRESHOLDS.items():
        default = getattr(Limits(), field)
        add(
            option, dest=field, type=type(default), default=default, metavar="N", help=f"{text} (%(default)s)"
        )


def main(arguments: argparse.Namespace) -> None:
    """Exit with 0 whatever was found, 1 if --strict names it, 2 for an error of the user's."""
    if (arguments.folder is None) == (arguments.config is None):
        raise ConfigError("give a folder, or a config by -c, one of the two")
    arguments.of_run = bool(arguments.folder) and is_run(arguments.folder)
    if arguments.of_run:
        arguments.folder, arguments.config = None, os.path.join(arguments.folder, RUN_CONFIG)
    strict, fix = _kinds_of("--strict", arguments.strict), _kinds_of("--fix", arguments.fix)
    limits = Limits(**{field: getattr(arguments, field) for field in _THRESHOLDS})
    from ..check.job import check_data

    splits, embed, title, out = _of_config(arguments) if arguments.config else _of_folder(arguments)
    found, lines = check_data(splits, arguments.out or out, limits, title, arguments.workers, fix, embed)
    print(*lines, sep="\n")
    if any(finding.kind in strict for finding in found):
        sys.exit(1)


def _kinds_of(option: str, text: str | None) -> list[str]:
    """Return the kinds of findings in the comma-separated `text` of an option."""
    kinds = [kind.strip() for kind in (text or "").split(",") if kind.strip()]
    check_kinds(option, kinds)
    return kinds


def _of_folder(arguments: argparse.Namespace) -> tuple[Splits, Embed | None, str, str]:
    """Return the splits of the folder, the function that embeds, the title of the report and the folder for it."""
    folder, model = arguments.folder, arguments.embeddings
    if arguments.override:
        raise ConfigError("-o changes a config; give one by -c")
    if model and model.endswith(_WEIGHTS):
        raise ConfigError("--embeddings: weights need the config of their network; give it by -c")
    from ..check.embeddings import embedder
    from ..check.splits import splits_of_folder

    out = os.path.join("output", os.path.basename(os.path.abspath(folder)), "check_data")
    return splits_of_folder(folder), embedder(model) if model else None, f"Data of {folder}", out


def _of_config(arguments: argparse.Namespace) -> tuple[Splits, Embed | None, str, str]:
    """Return the splits of the config, the function that embeds, the title of the report and the folder for it."""
    from ..check.configured import embedder_of_weights, splits_of_config
    from ..check.embeddings import embedder
    from ..config import load_config, load_run

    load = load_run if arguments.of_run else load_config
    model, config = arguments.embeddings, load(arguments.config, cli.overrides(arguments))
    embed = None
    if model:
        of_weights = model.endswith(_WEIGHTS)
        embed = embedder_of_weights(config, model) if of_weights else embedder(model)
    out = os.path.join(config.Global.output_dir, "check_data")
    return splits_of_config(config), embed, f"Data of {arguments.config}", out
