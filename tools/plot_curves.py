"""Learning curves of training runs side by side: python tools/plot_curves.py output/a output/b --out curves"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("curves")
