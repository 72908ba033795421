"""Latency, throughput, memory and load time of networks: python tools/benchmarks/models.py MODEL ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("bench")
