"""Search for the settings of a training by trials: python tools/search.py -c SEARCH [-o key=value ...] [--jobs N]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("search")
