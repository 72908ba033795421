"""Parameters and multiply-adds by layer: python tools/summary.py -c CONFIG [-o Arch.name=PPLCNet_x1_0 ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("summary")
