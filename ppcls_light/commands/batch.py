"""Classify images by the million with Ray Data, on one machine or on a cluster.

%(prog)s --model inference --input photos/ --output rows/
%(prog)s --model inference --input urls.parquet --output rows/ --address head:6379

The same command again makes the parts that are missing. On a cluster the three paths are the same on every node.
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="exported folder")
    add("--input", required=True, metavar="PATH", help="folder, text list or .parquet of paths and URLs")
    add("--output", required=True, metavar="DIR", help="folder for the parts")
    add("--column", help="of the parquet file; default: path, url, image or file_name")
    add("--format", choices=["jsonl", "parquet"], default="jsonl", help="of the parts")
    add("--part-size", type=cli.positive, default=1024, metavar="N", help="images per part (1024)")
    add("--address", help="of a Ray cluster, host:port or auto; without it: this machine")
    add("--workers", type=cli.positive, metavar="N", help="actors of one CPU each; default: all CPUs")
    add("--batch-size", type=cli.positive, default=8, metavar="N", help="images per forward pass (8)")
    engines = ["paddle", "onnxruntime", "openvino", "native"]
    add("--engine", choices=engines, help="native where the folder has a plan for it, else paddle")
    add(
        "--precision",
        choices=["fp32", "bf16", "int8"],
        default="fp32",
        help="int8: of a folder that has it (fp32)",
    )
    add("--timeout", type=cli.positive, default=20, metavar="SECONDS", help="for one URL (20)")
    add("--max-bytes", type=cli.positive, default=20_000_000, metavar="N", help="of one URL (20 million)")


def main(arguments: argparse.Namespace) -> None:
    from ..prediction.ray_job import classify

    classify(arguments)
