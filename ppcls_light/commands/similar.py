"""Find look-alikes among photos by the embeddings of an exported network, and classes without a training.

%(prog)s index --model inference --out photos.npz PHOTOS
%(prog)s query --model inference --index photos.npz NEW.jpg --output rows.csv
%(prog)s query --model inference --index photos.npz FOLDER --classify

The model is exported with -o Global.embedding=true. With --classify the indexed folder has one folder per class.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from .. import cli

if TYPE_CHECKING:
    from ..prediction.results import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("images", metavar="IMAGES", help="folder of images; for query one image, too")
    add("--model", required=True, metavar="DIR", help="exported folder")
    add("--engine", choices=["paddle", "onnxruntime", "openvino", "auto"], default="paddle")
    add("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    add("--batch-size", type=cli.positive, default=8, metavar="N", help="images per forward pass (8)")
    add("-q", "--quiet", action="store_true", help="no lines of progress")
    actions = parser.add_subparsers(dest="action", required=True, metavar="index|query")
    index = actions.add_parser("index", parents=[shared], help="write the embeddings of a folder")
    index.add_argument("--out", required=True, metavar="FILE.npz", help="gets embeddings and names")
    query = actions.add_parser("query", parents=[shared], help="find the most similar images of an index")
    query.add_argument("--index", required=True, metavar="FILE.npz", help="of the command index")
    query.add_argument("--topk", type=cli.positive, default=5, metavar="N", help="neighbours, or classes (5)")
    query.add_argument("--classify", action="store_true", help="let the neighbours' class folders vote")
    query.add_argument("--output", metavar="FILE", help="rows.jsonl or rows.csv, a row for each image")


def main(arguments: argparse.Namespace) -> None:
    """Exit with 0 if all images were used, 1 if some failed, 2 if all did or a setting is wrong."""
    from ..prediction import Predictor
    from ..prediction.neighbours import Index
    from ..prediction.similar import find_similar, index_folder

    cli.log_to_stderr()
    progress = None if arguments.quiet else sys.stderr
    index = Index.read(arguments.index) if arguments.action == "query" else None
    predictor = Predictor(
        arguments.model,
        engine=arguments.engine,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
    )
    if index is None:
        outcome = index_folder(predictor, arguments.images, arguments.out, progress)
        print(f"{outcome.images - outcome.failed} images are in {arguments.out}")
    else:
        options = {"classify": arguments.classify, "output": arguments.output, "progress": progress}
        outcome = find_similar(predictor, index, arguments.images, _show, arguments.topk, **options)
    if outcome.failed:
        print(f"{outcome.failed} of {outcome.images} images could not be used", file=sys.stderr)
        sys.exit(2 if outcome.failed == outcome.images else 1)


def _show(row: Row) -> None:
    from ..prediction.similar import format_similar

    if "error" in row:
        print(f"error: {row['error']}", file=sys.stderr)
    else:
        print(format_similar(os.path.basename(row["file_name"]), row), flush=True)
