"""python -m ppcls_light.inference FOLDER IMAGES.txt PROBS.npz: class probabilities of every listed image.

IMAGES.txt has one path a line. PROBS.npz gets `probs` (N, class_num), float32, and `onednn`, whether oneDNN
was used. `export_model` runs this in a new process, so that what it checks is what a user will run.
"""

import sys

import numpy as np

from ..errors import UserError
from .predictor import Predictor


def main(folder, list_file, output):
    with open(list_file, encoding="utf-8", errors="surrogateescape") as file:
        paths = file.read().splitlines()
    predictor = Predictor(folder)
    probs = [predictor.run(predictor.preprocess(path)[None])[0] for path in paths]
    np.savez(output, probs=np.stack(probs), onednn=predictor.engine_options.onednn)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
