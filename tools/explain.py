"""Show what in an image speaks for a class: python tools/explain.py -c CONFIG --image FILE_OR_FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("explain")
