"""Export trained weights to a folder for inference, and prove the result.

%(prog)s output/photos
%(prog)s -c CONFIG -o Global.pretrained_model=output/photos/best_model

With --format onnx also for ONNX Runtime, OpenVINO and others: inference.onnx beside the Paddle graph.
With --format web also for browsers: a folder web/ with a page that classifies there, for any static host.
With --format openvino also for that runtime, proved in it; -o Global.export_precision=fp16 adds half precision.
With -o Global.export_preprocess=true for photos as they are decoded: resize, crop and normalisation are in the graph.
With -o Global.export_precision=int8 also in int8, for every engine that loses no more than --max-drop by it.
"""

import argparse
from typing import get_args

from .. import cli
from ..config.formats import ExportFormat


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser)
    cli.add_dry_run(parser)
    add = parser.add_argument
    add(
        "--format",
        action="append",
        choices=get_args(ExportFormat),
        help="beside Paddle's graph: onnx, web, or a format of another runtime; several with one --format each",
    )
    add(
        "--cdn", action="store_true", help="of --format web: the runtime is not beside the page, but on a CDN"
    )
    add(
        "--webgpu",
        action="store_true",
        help="of --format web: the page uses the browser's GPU where it is equal and faster; 7 MB more",
    )
    add(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="percentage points of top-1 that bf16 and int8 may lose under Global.export_precision=int8 (1.0)",
    )
    add(
        "--operators",
        action="store_true",
        help="print how many operators the graph has as trained and as exported",
    )


def main(arguments: argparse.Namespace) -> None:
    options = {
        "--format": arguments.format,
        "--max-drop": arguments.max_drop,
        "--operators": arguments.operators,
        "--cdn": arguments.cdn,
        "--webgpu": arguments.webgpu,
    }
    cli.run_job("export", arguments, options)
