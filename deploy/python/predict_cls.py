"""Classify images with an exported model: python deploy/python/predict_cls.py -c CONFIG -o Global.key=value"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.data import find_images
from ppcls_light.inference.deploy import predictor_from_config, read_deploy_config
from ppcls_light.results import format_row

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "inference_cls.yaml"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description="Classify images with an exported model.")
    parser.add_argument("-c", "--config", default=str(DEFAULT_CONFIG), help="deploy YAML")
    cli.add_override(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="print what the model folder says")
    return parser.parse_args(argv)


def main(argv=None):
    """Print one row an image; exit with 0 if all were classified, 1 if some failed, 2 if none was."""
    args = parse_args(argv)
    config = read_deploy_config(args.config, cli.overrides(args))
    images = find_images(config.Global.infer_imgs)
    predictor = predictor_from_config(config)
    if args.verbose:
        print(predictor.bundle, predictor.engine_options, sep="\n", file=sys.stderr)
    failed, start = 0, time.perf_counter()
    for row in predictor.iter_predict(images):
        if "error" in row:
            failed += 1
            print(f"error: {row['error']}", file=sys.stderr)
        else:
            print(format_row(os.path.basename(row["file_name"]), row), flush=True)
    if config.Global.enable_benchmark:
        seconds = time.perf_counter() - start
        print(
            f"{len(images)} images in {seconds:.2f} s, {len(images) / seconds:.1f} images/s", file=sys.stderr
        )
    if failed:
        print(f"{failed} of {len(images)} images could not be classified", file=sys.stderr)
        sys.exit(2 if failed == len(images) else 1)


if __name__ == "__main__":
    cli.run(main)
