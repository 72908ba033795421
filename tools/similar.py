"""Find look-alikes among photos by the embeddings of an exported network, and classes without a training.

    python tools/similar.py index --model inference --out photos.npz PHOTOS
    python tools/similar.py query --model inference --index photos.npz NEW.jpg --output rows.csv
    python tools/similar.py query --model inference --index photos.npz FOLDER --classify

The model is exported with -o Global.embedding=true. With --classify the indexed folder has one folder per class.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("similar")
