"""Occlusion: the loss of a class when parts of the image are covered; asks for probabilities alone, without Paddle."""

from __future__ import annotations

from typing import Callable

import numpy as np

CELLS = 12  # of a side; 13 x 13 patches of 2 x 2 cells cover each cell four times
_BATCH = 32


def occlusion(
    probabilities: Callable[[np.ndarray], np.ndarray], images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return maps (N, cells, cells): the mean loss of the class under the patches that cover a cell, 170 passes each.

    A patch has the mean colour of the image and a sixth of its height and width. The loss is in log odds,
    log(p / (1 - p)), which fall evenly where a probability of almost 1 hardly moves. Positive values speak for the
    class. Source: Zeiler and Fergus, arXiv 1311.2901, section 4.2, with a grey patch and probabilities.
    """
    return np.stack([_map(probabilities, image, label) for image, label in zip(images, classes.tolist())])


def _map(probabilities: Callable[[np.ndarray], np.ndarray], image: np.ndarray, label: int) -> np.ndarray:
    height, width = image.shape[1:]
    rows, columns = (
        np.linspace(0, side, min(CELLS, side) + 1).round().astype(int) for side in (height, width)
    )
    colour = image.mean(axis=(1, 2))[:, None, None]

    def covered(place: int) -> np.ndarray:
        row, column = divmod(place, len(columns))
        copy = image.copy()
        (top, bottom), (left, right) = _span(rows, row), _span(columns, column)
        copy[:, top:bottom, left:right] = colour
        return copy

    whole = _log_odds(probabilities(image[None]), label)[0]
    count, left = len(rows) * len(columns), []
    for start in range(0, count, _BATCH):
        batch = np.stack([covered(place) for place in range(start, min(start + _BATCH, count))])
        left.append(_log_odds(probabilities(batch), label))
    losses = (whole - np.concatenate(left)).reshape(len(rows), len(columns))
    return ((losses[1:, 1:] + losses[1:, :-1] + losses[:-1, 1:] + losses[:-1, :-1]) / 4).astype(np.float32)


def _span(edges: np.ndarray, index: int) -> tuple[int, int]:
    """Return begin and end of the two cells on both sides of an edge; outermost edges have one."""
    return int(edges[max(index - 1, 0)]), int(edges[min(index + 1, len(edges) - 1)])


def _log_odds(probabilities: np.ndarray, label: int) -> np.ndarray:
    rest = np.delete(probabilities, label, axis=1).sum(axis=1, dtype=np.float64)
    tiny = np.finfo(np.float32).tiny
    return np.log(np.maximum(probabilities[:, label], tiny)) - np.log(np.maximum(rest, tiny))
