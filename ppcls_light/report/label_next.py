"""Choice of the images to label next, from many without labels: those in doubt, and of these such as differ.

Doubt is the margin between the two most likely classes (Scheffer et al., IDA 2001). Among the images of least margin,
three times as many as are wanted, greedy k-center (Sener and Savarese, arXiv 1708.00489, algorithm 1) takes one after
the other that is farthest from those taken, so that ten shots of one object are not ten labels; the order of doubt
and diversity is that of Zhdanov (arXiv 1901.05954).
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence

import numpy as np

from ..errors import DataError

LABEL_COUNT = 100  # images that are chosen, where nothing else is asked for
CANDIDATES = 3  # times as many as are wanted
COLUMNS = ("file", "predicted", "predicted_name", "score", "second", "second_name", "second_score", "margin")


class NextToLabel(NamedTuple):
    """Images to label next, the first first, of `looked_at` images.

    paths: M of them. probabilities: float (M, K).
    """

    paths: Sequence[str]
    probabilities: np.ndarray
    looked_at: int

    def rows(self, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
        """Yield a row of `COLUMNS` for each image."""
        for path, row in zip(self.paths, self.probabilities):
            first, second = np.argsort(-row, kind="stable")[:2].tolist()
            best = first, names[first], f"{row[first]:.5f}", second, names[second], f"{row[second]:.5f}"
            yield path, *best, f"{row[first] - row[second]:.5f}"


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return (N,): the highest of the probabilities (N, K), K >= 2, less the second."""
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return best[:, 1] - best[:, 0]


class Candidates:
    """The images of least margin so far, as they come: a folder of any size is looked at in bounded memory.

    `wanted` images are to be chosen in the end.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted, self.looked_at = wanted, 0
        self._paths: list[str] = []
        self._arrays: tuple[np.ndarray, ...] = ()  # margins (M,), probabilities (M, K), features (M, D)

    def add(self, paths: Sequence[str], probabilities: np.ndarray, features: np.ndarray) -> None:
        """Look at a batch: N paths, probabilities (N, K), and features (N, D) before the classifier."""
        self.looked_at += len(paths)
        batch = margins(probabilities), probabilities, features
        joined = [np.concatenate(pair) for pair in zip(self._arrays, batch)] if self._arrays else batch
        paths = [*self._paths, *paths]
        kept = np.argsort(joined[0], kind="stable")[: CANDIDATES * self.wanted]
        self._paths = [paths[index] for index in kept]
        self._arrays = tuple(values[kept] for values in joined)

    def chosen(self) -> NextToLabel:
        """Return up to `wanted` of the images that were added. Raises DataError: there was none."""
        if not self._arrays:
            raise DataError("no image to label next could be read; the log has the reasons")
        _, probabilities, features = self._arrays
        order = k_center(features, self.wanted)
        return NextToLabel([self._paths[index] for index in order], probabilities[order], self.looked_at)


def k_center(features: np.ndarray, count: int) -> np.ndarray:
    """Return int64 (min(count, N),): the first of the features (N, D), then each time the one farthest from those.

    Distances are those of directions, which lighting changes less than lengths.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, 1e-12)
    order = [0]
    nearest = 1 - directions @ directions[0]
    while len(order) < min(count, len(features)):
        nearest[order[-1]] = -np.inf
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, 1 - directions @ directions[order[-1]])
    return np.array(order)
