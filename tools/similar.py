"""Find look-alikes among photos by the embeddings of an exported network, and classes without a training.

    python tools/similar.py index --model inference --out photos.npz PHOTOS
    python tools/similar.py query --model inference --index photos.npz NEW.jpg --output rows.csv
    python tools/similar.py query --model inference --index photos.npz FOLDER --classify

The model is exported with -o Global.embedding=true. With --classify the indexed folder has one folder per class.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

# isort: split
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.neighbours import Index
from ppcls_light.prediction.similar import find_similar, format_similar, index_folder


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("images", metavar="IMAGES", help="folder of images; for query one image, too")
    add("--model", required=True, metavar="DIR", help="folder of tools/export_model.py")
    add("--engine", choices=["paddle", "onnxruntime", "openvino", "auto"], default="paddle")
    add("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    add("--batch-size", type=positive, default=8, metavar="N", help="images per forward pass (8)")
    add("-q", "--quiet", action="store_true", help="no lines of progress")
    commands = parser.add_subparsers(dest="command", required=True, metavar="index|query")
    index = commands.add_parser("index", parents=[shared], help="write the embeddings of a folder")
    index.add_argument("--out", required=True, metavar="FILE.npz", help="gets embeddings and names")
    query = commands.add_parser("query", parents=[shared], help="find the most similar images of an index")
    query.add_argument("--index", required=True, metavar="FILE.npz", help="of the command index")
    query.add_argument("--topk", type=positive, default=5, metavar="N", help="neighbours, or classes (5)")
    query.add_argument("--classify", action="store_true", help="let the neighbours' class folders vote")
    query.add_argument("--output", metavar="FILE", help="rows.jsonl or rows.csv, a row for each image")
    return parser.parse_args()


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def main():
    """Exit with 0 if all images were used, 1 if some failed, 2 if all did or a setting is wrong."""
    args = parse_args()
    cli.log_to_stderr()
    progress = None if args.quiet else sys.stderr
    index = Index.read(args.index) if args.command == "query" else None
    predictor = Predictor(
        args.model, engine=args.engine, precision=args.precision, batch_size=args.batch_size
    )
    if index is None:
        outcome = index_folder(predictor, args.images, args.out, progress)
        print(f"{outcome.images - outcome.failed} images are in {args.out}")
    else:
        options = {"classify": args.classify, "output": args.output, "progress": progress}
        outcome = find_similar(predictor, index, args.images, show, args.topk, **options)
    if outcome.failed:
        print(f"{outcome.failed} of {outcome.images} images could not be used", file=sys.stderr)
        sys.exit(2 if outcome.failed == outcome.images else 1)


def show(row):
    if "error" in row:
        print(f"error: {row['error']}", file=sys.stderr)
    else:
        print(format_similar(os.path.basename(row["file_name"]), row), flush=True)


if __name__ == "__main__":
    cli.run(main)
