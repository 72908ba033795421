"""Remove filters of a trained network: python tools/prune.py -c CONFIG -o Global.pretrained_model=FILE --out FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("prune")
