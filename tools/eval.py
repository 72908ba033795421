"""Score trained weights: python tools/eval.py -c CONFIG -o Global.pretrained_model=output/best_model"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

OPTIONS = [
    (["--predictions"], {"metavar": "FILE", "help": "write one JSON row per image"}),
    (
        ["--report"],
        {
            "metavar": "DIR",
            "help": "write report.html and its tables: classes, mistakes, label errors, calibration",
        },
    ),
    (
        ["--latency"],
        {"action": "store_true", "help": "measure the engines of the export of these weights for the report"},
    ),
    (
        ["--label-next"],
        {"metavar": "FOLDER", "help": "show in the report which images of this folder to label next"},
    ),
    (["--label-count"], {"metavar": "N", "type": int, "help": "that many of them (default: 100)"}),
]


if __name__ == "__main__":
    cli.run_job("evaluate", __doc__, OPTIONS)
