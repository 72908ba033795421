"""Check the images and labels of a training before it: python tools/check_data.py -c CONFIG, or a folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("check")
