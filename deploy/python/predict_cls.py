"""Classify images with an exported model: python deploy/python/predict_cls.py -c CONFIG -o Global.key=value"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.config.deploy import MOVED, MOVED_KEYS
from ppcls_light.errors import ConfigError
from ppcls_light.prediction.deploy import read_deploy_config
from ppcls_light.prediction.job import classify_files, speed
from ppcls_light.prediction.results import format_row

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "inference_cls.yaml"
SHORTCUTS = {
    "engine": ("NAME", "paddle, onnxruntime, openvino or auto"),
    "precision": ("NAME", "fp32, fp16, bf16, int8 or auto"),
    "output": ("FILE", "rows.jsonl or rows.csv, a row for each image"),
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description="Classify images with an exported model.")
    parser.add_argument("-c", "--config", default=str(DEFAULT_CONFIG), help="deploy YAML")
    cli.add_override(parser)
    for key, (metavar, text) in SHORTCUTS.items():
        parser.add_argument(f"--{key}", metavar=metavar, help=f"Global.{key}: {text}")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="Global.workers: processes that share the images; 0: none"
    )
    for key in MOVED_KEYS:
        parser.add_argument(flag(key), help=argparse.SUPPRESS)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the rows that an ended run left in --output"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no lines of progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the settings of the model folder")
    return parser.parse_args(argv)


def flag(key):
    return f"--{key.replace('_', '-')}"


def main(argv=None):
    """Print one row per image; exit with 0 if all were classified, 1 if some failed, 2 if none was.

    130 and 143: ended by SIGINT or SIGTERM.
    """
    args = parse_args(argv)
    cli.log_to_stderr()
    for key in MOVED_KEYS:
        if getattr(args, key) is not None:
            raise ConfigError(f"{flag(key)} {MOVED}")
    keys = (*SHORTCUTS, "workers")
    given = [
        f"Global.{key}={json.dumps(getattr(args, key))}" for key in keys if getattr(args, key) is not None
    ]
    config = read_deploy_config(args.config, [*cli.overrides(args), *given])
    progress = None if args.quiet else sys.stderr
    outcome = classify_files(config, show, args.resume, progress, announce if args.verbose else None)
    if config.Global.enable_benchmark:
        print(benchmark_line(outcome), file=sys.stderr)
    if outcome.signal is not None:
        left = f": {outcome.images} rows are in {outcome.partial}; --resume goes on from them"
        name = signal.Signals(outcome.signal).name
        print(f"ended by {name}{left if outcome.partial else ''}", file=sys.stderr)
        sys.exit(128 + outcome.signal)
    if outcome.failed:
        print(f"{outcome.failed} of {outcome.images} images could not be classified", file=sys.stderr)
        sys.exit(2 if outcome.failed == outcome.images else 1)


def benchmark_line(outcome):
    """Return how many images this run classified, in which time and at which rate; those that failed do not count."""
    classified = outcome.new - outcome.new_failed
    failed = f"{outcome.new_failed} failed" if outcome.new_failed else ""
    parts = f"{classified} images in {outcome.seconds:.2f} s", speed(classified, outcome.seconds), failed
    return ", ".join(filter(None, parts))


def announce(predictor):
    print(predictor.bundle, predictor.engine_options, sep="\n", file=sys.stderr)


def show(row):
    if "error" in row:
        print(f"error: {row['error']}", file=sys.stderr)
    else:
        print(format_row(os.path.basename(row["file_name"]), row), flush=True)


if __name__ == "__main__":
    cli.run(main)
