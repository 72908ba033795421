"""Write train, val and test lists, a label map and a config that fits for a folder with one folder per class."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("lists")
