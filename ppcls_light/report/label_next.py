"""Choice of the images to label next, from many without labels: those in doubt, and of these such as differ.

Doubt is the margin between the two most likely classes (Scheffer et al., IDA 2001). The images of least margin, ten
times as many as are wanted, are clustered by k-means on their embeddings, with one less the margin as weight, and the
image nearest to each centre is taken, so that ten shots of one object are not ten labels (Zhdanov, arXiv 1901.05954).
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence

import numpy as np

from ..errors import DataError

LABEL_COUNT = 100  # images that are chosen, where nothing else is asked for
CANDIDATES = 10  # times as many as are wanted
_ITERATIONS = 10  # of k-means
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
        margin, probabilities, features = self._arrays
        order = diverse(features, 1 - margin, self.wanted)
        return NextToLabel([self._paths[index] for index in order], probabilities[order], self.looked_at)


def diverse(features: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Return int64 (min(count, N),), rising: the images nearest to the centres of a weighted k-means.

    Args:
        features: (N, D), compared by their directions from the mean.
        weights: (N,), none negative.
        count: of the clusters.
    """
    if len(features) <= count:
        return np.arange(len(features))
    centred = (features - features.mean(axis=0)).astype(np.float64)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    weights = np.maximum(weights, 1e-6)  # of images that are sure, which may be all there are
    centres = directions[_first_centres(directions, weights, count)]
    for _ in range(_ITERATIONS):
        owner = _distances(directions, centres).argmin(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, directions * weights[:, None])
        held = np.bincount(owner, weights, count)[:, None]
        centres = np.where(held > 0, sums / np.maximum(held, 1e-12), centres)
    distances, chosen = _distances(directions, centres), []
    for column in range(count):
        chosen.append(int(distances[:, column].argmin()))
        distances[chosen[-1]] = np.inf
    return np.sort(chosen)


def _first_centres(points: np.ndarray, weights: np.ndarray, count: int) -> list[int]:
    """Return places of points (N, D) that k-means begins with (k-means++: Arthur and Vassilvitskii, SODA 2007)."""
    rng = np.random.default_rng(0)
    chosen = [int(weights.argmax())]
    nearest = _distances(points, points[chosen])[:, 0]
    while len(chosen) < count:
        nearest[chosen] = 0
        odds = nearest * weights
        # Where all that is left are copies of those chosen, any will do.
        odds = odds / odds.sum() if odds.any() else None
        chosen.append(int(rng.choice(len(points), p=odds)))
        nearest = np.minimum(nearest, _distances(points, points[chosen[-1:]])[:, 0])
    return chosen


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return squared distances (N, M) of points (N, D) from centres (M, D)."""
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(squares - 2 * points @ centres.T, 0)
