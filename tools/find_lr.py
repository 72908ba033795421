"""Suggest a learning rate by a range test: python tools/find_lr.py -c CONFIG [-o Section.key=value ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("find-lr")
