"""Score trained weights: python tools/eval.py -c CONFIG -o Global.pretrained_model=output/best_model"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def evaluate(config, predictions):
    from ppcls_light import tasks

    tasks.evaluate(config, predictions)


if __name__ == "__main__":
    cli.run_job(evaluate, __doc__, "--predictions", metavar="FILE", help="write one JSON row an image")
