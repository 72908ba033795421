"""Classify images by the million: python deploy/batch/classify.py --model inference --input photos/ --output rows/"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
from ppcls_light.prediction.ray_job import main

if __name__ == "__main__":
    cli.run(main)
