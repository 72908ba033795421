"""Convert weights of torch, timm or PaddleClas: python tools/convert_weights.py SOURCE DST --arch NAME [--ema]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("convert")
