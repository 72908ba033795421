"""Train a network: python tools/train.py -c configs/quick_start/digits.yaml [-o Section.key=value ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

OPTIONS = [
    (["-p", "--profiler_options"], {"metavar": "KEY=VALUE;...", "help": "profile a range of steps"}),
]


if __name__ == "__main__":
    cli.run_job("train", __doc__, OPTIONS)
