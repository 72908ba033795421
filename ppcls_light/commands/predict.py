"""Classify images with an exported folder, or a published scenario.

%(prog)s output/photos PHOTO_OR_FOLDER ...
%(prog)s PULC_person_exists PHOTO_OR_FOLDER ...
%(prog)s -c CONFIG -o Global.key=value
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from .. import cli
from ..base.hints import command
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..prediction.job import Outcome
    from ..prediction.predictor import Predictor
    from ..prediction.results import Row

_SHORTCUTS = {
    "engine": ("NAME", "paddle, onnxruntime, openvino, native or auto"),
    "precision": ("NAME", "fp32, fp16, bf16, int8 or auto"),
    "output": ("FILE", "rows.jsonl or rows.csv, a row for each image"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..config.deploy import MOVED_KEYS

    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="exported folder, that of its training, or a scenario of `list scenarios`; Global.inference_model_dir",
    )
    add("images", nargs="*", metavar="IMAGES", help="images, and folders of images; Global.infer_imgs")
    add("--model_name", metavar="NAME", help="the same as FOLDER, in PaddleClas' words")
    add("--infer_imgs", metavar="PATH", help="the same as IMAGES, in PaddleClas' words")
    add("-c", "--config", metavar="FILE", help="deploy YAML; without it every setting has its default")
    cli.add_override(parser)
    for key, (metavar, text) in _SHORTCUTS.items():
        add(f"--{key}", metavar=metavar, help=f"Global.{key}: {text}")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="Global.workers: processes or threads that share the images; 0: none",
    )
    for key in MOVED_KEYS:
        add(_flag(key), help=argparse.SUPPRESS)
    add("--resume", action="store_true", help="go on from the rows that an ended run left in --output")
    add("-q", "--quiet", action="store_true", help="no lines of progress")
    add("-v", "--verbose", action="store_true", help="print the settings of the model folder")


def main(arguments: argparse.Namespace) -> None:
    """Print one row per image; exit with 0 if all were classified, 1 if some failed, 2 if none was.

    130 and 143: ended by SIGINT or SIGTERM.
    """
    from ..config.deploy import MOVED_KEYS, moved
    from ..prediction.deploy import read_deploy_config
    from ..prediction.job import classify_files

    cli.log_to_stderr()
    for key in MOVED_KEYS:
        if getattr(arguments, key) is not None:
            raise ConfigError(f"{_flag(key)} {moved()}")
    folder, *images = _positionals(arguments)
    if folder is not None and not images:
        raise ConfigError(f"no images are given; {command('predict')} {folder} PHOTO_OR_FOLDER ...")
    if folder is None and not (arguments.config or arguments.override):
        raise ConfigError(f"no model is given; {command('predict')} output/NAME PHOTO_OR_FOLDER ...")
    given = {
        "inference_model_dir": folder and cli.exported(folder),
        "infer_imgs": images or None,
        **{key: getattr(arguments, key) for key in (*_SHORTCUTS, "workers")},
    }
    pairs = [f"Global.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    config = read_deploy_config(arguments.config or {}, [*cli.overrides(arguments), *pairs])
    progress = None if arguments.quiet else sys.stderr
    outcome = classify_files(
        config, _show, arguments.resume, progress, _announce if arguments.verbose else None
    )
    if config.Global.enable_benchmark or config.Global.benchmark:
        print(_benchmark_line(outcome), file=sys.stderr)
    if outcome.signal is not None:
        left = f": {outcome.images} rows are in {outcome.partial}; --resume goes on from them"
        name = signal.Signals(outcome.signal).name
        print(f"ended by {name}{left if outcome.partial else ''}", file=sys.stderr)
        sys.exit(128 + outcome.signal)
    if outcome.failed:
        print(f"{outcome.failed} of {outcome.images} images could not be classified", file=sys.stderr)
        sys.exit(2 if outcome.failed == outcome.images else 1)


def _positionals(arguments: argparse.Namespace) -> list[str | None]:
    """Return the model and then the images, in whatever way they are given; --model_name leaves FOLDER to an image."""
    given = [arguments.folder, *arguments.images]
    if arguments.model_name is not None:
        given = [arguments.model_name, *(each for each in given if each is not None)]
    return given if arguments.infer_imgs is None else [*given, arguments.infer_imgs]


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _benchmark_line(outcome: Outcome) -> str:
    """Return how many images this run classified, in which time and at which rate; those that failed do not count."""
    from ..prediction.job import speed

    classified = outcome.new - outcome.new_failed
    failed = f"{outcome.new_failed} failed" if outcome.new_failed else ""
    parts = f"{classified} images in {outcome.seconds:.2f} s", speed(classified, outcome.seconds), failed
    return ", ".join(filter(None, parts))


def _announce(predictor: Predictor) -> None:
    print(predictor.bundle, predictor.engine_options, sep="\n", file=sys.stderr)


def _show(row: Row) -> None:
    from ..prediction.results import format_row

    if "error" in row:
        print(f"error: {row['error']}", file=sys.stderr)
    else:
        print(format_row(os.path.basename(row["file_name"]), row), flush=True)
