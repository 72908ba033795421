"""Fit a classifier on a network's embeddings, as a teacher: python tools/fit_teacher.py -c CONFIG --out FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("fit-teacher")
