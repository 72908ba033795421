"""Load test of the server: python deploy/serving/load_test.py --model inference"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
from tools.benchmarks.load import main

if __name__ == "__main__":
    cli.run(main)
