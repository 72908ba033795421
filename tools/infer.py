"""Classify images: python tools/infer.py -c CONFIG -o Infer.infer_imgs=FILE_OR_FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

OPTIONS = [
    (
        ["--picture"],
        {"metavar": "FILE", "help": "write thumbnails with truth, prediction and score, a PNG or JPEG"},
    ),
]


if __name__ == "__main__":
    cli.run_job("infer", __doc__, OPTIONS)
