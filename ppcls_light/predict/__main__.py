"""Class probabilities of listed images: python -m ppcls_light.predict FOLDER IMAGES.txt PROBS.npz ENGINE PRECISION

IMAGES.txt has one path a line. PROBS.npz gets `probs` (N, class_num), float32, of the images one by one,
`probs_of_8` (8, class_num) of a batch of 8, the first images over and over, and `onednn`, true if oneDNN was
used. They are those of the graph as it is; for a network that Paddle runs as one operator of the project's there are
`operator_probs`, too. `export_model` runs this in a new process, so that it checks what a user will run.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..bundle.folder import read_bundle
from ..errors import UserError
from ..runtime.one_operator import available
from ..runtime.options import EngineOptions
from .pipeline import read_ahead
from .predictor import Predictor


def main(folder: str, list_file: str, output: str, engine: str, precision: str) -> None:
    with open(list_file, encoding="utf-8", errors="surrogateescape") as file:
        paths = file.read().splitlines()
    bundle = read_bundle(folder)
    bundle.precisions = {engine: {precision: 0.0}}  # the export lists them once they are compared
    predictor = Predictor(bundle, engine=engine, precision=precision, cpu_ops=False)
    first = np.stack([predictor.preprocess(path) for path in paths[:8]])
    results: dict[str, Any] = {
        "probs": _one_by_one(predictor, paths),
        "probs_of_8": predictor.run(np.resize(first, (8, *first.shape[1:]))),
        "onednn": predictor.engine_options.onednn,
    }
    if (engine, precision) == ("paddle", "fp32") and available(bundle, EngineOptions()):
        own = Predictor(bundle)
        if own.engine_options.cpu_ops:
            results["operator_probs"] = _one_by_one(own, paths)
    np.savez(output, **results)


def _one_by_one(predictor: Predictor, paths: list[str]) -> np.ndarray:
    batches = read_ahead(paths, predictor.preprocess, 1)
    return np.concatenate([predictor.run(ready()[None]) for _, (ready,) in batches])


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
