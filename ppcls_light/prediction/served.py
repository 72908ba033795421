"""Answers of an exported folder, run in a subprocess by the export's verification."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..bundle.folder import read_bundle
from ..config.values import EngineName, Precision
from .pipeline import read_ahead
from .predictor import Predictor


def answers(folder: str, paths: list[str], engine: EngineName, precision: Precision) -> dict[str, Any]:
    """Return the class probabilities of images, by an engine that this process has not used before.

    {probs: (N, class_num), float32, of the images one by one; probs_of_8: (8, class_num) of a batch of 8, the first
    images over and over, of photos those of the first one's size; onednn: true if Paddle used it} are those of the
    graph as it is; the graph's further outputs, such as embedding (N, D), are there in the same two forms. The engine
    native, which has the first output alone, gives probs.
    """
    bundle = read_bundle(folder)
    bundle.precisions = {engine: {precision: 0.0}}  # the export lists them once they are compared
    predictor = Predictor(bundle, engine=engine, precision=precision)
    if engine == "native":
        return _one_by_one(predictor, paths, lambda images: {"probs": predictor.run(images)})
    images = [predictor.preprocess(path) for path in paths[:8]]
    first = np.stack([image for image in images if image.shape == images[0].shape])
    batch_of_8 = predictor.run_all(np.resize(first, (8, *first.shape[1:])))
    return {
        **_one_by_one(predictor, paths, predictor.run_all),
        **{f"{name}_of_8": values for name, values in batch_of_8.items()},
        "onednn": predictor.engine_options.onednn,
    }


def _one_by_one(
    predictor: Predictor, paths: list[str], run: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    batches = read_ahead(paths, predictor.preprocess, 1)
    found = [run(ready()[None]) for _, (ready,) in batches]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}
