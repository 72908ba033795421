"""Findings by embeddings: labels that no similar image has, images that are like no other, and copies.

An image is judged by its nearest ones in cosine similarity: a label that none of them has is suspected (k nearest
neighbours as a noise filter: Wilson, "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data", 1972), and an
image far from all of them is an outlier (Ramaswamy et al., "Efficient Algorithms for Mining Outliers from Large Data
Sets", 2000).
"""

from __future__ import annotations

from typing import Callable, Iterator, NamedTuple

import numpy as np

from ..prediction.neighbours import Index
from .kinds import Finding, Limits
from .same import EMBEDDED, Pairs
from .splits import Splits

NEAREST = 20
SMALL = 5  # images of a class, up to which its labels are not judged
_QUERIES = 4096


class Neighbours(NamedTuple):
    """M images and the `NEAREST` ones of each, all others if there are fewer; the nearest first."""

    images: np.ndarray  # int64 (M,), places in the `Splits`
    nearest: np.ndarray  # int64 (M, k), such places
    cosines: np.ndarray  # float32 (M, k)


def neighbours_of(
    images: np.ndarray, embeddings: np.ndarray, show: Callable[[int], None] = lambda done: None
) -> Neighbours:
    """Return the neighbours of `images`, int (M,), with these `embeddings` (M, D); no image is its own.

    `show` is called with the number of images done.
    """
    index = Index(embeddings, [""] * len(images), "", "")
    count = min(NEAREST, len(images) - 1)
    nearest, cosines = np.empty((len(images), count), np.int64), np.empty((len(images), count), np.float32)
    for start in range(0, len(images), _QUERIES):
        part = slice(start, start + _QUERIES)
        ids, found = index.search(embeddings[part], count + 1)
        own = ids == np.arange(start, start + len(ids))[:, None]
        # Among many equal ones an image may not be listed itself; the last of the others goes then.
        kept = np.argsort(own, axis=1, kind="stable")[:, :count]
        nearest[part], cosines[part] = (np.take_along_axis(values, kept, axis=1) for values in (ids, found))
        show(min(start + _QUERIES, len(images)))
    return Neighbours(images, images[nearest], cosines)


def alike(near: Neighbours, places: np.ndarray, cosine: float) -> Pairs:
    """Return the pairs with a similarity of `cosine` or more, by their places in `places`, which holds all images."""
    row, column = np.nonzero(near.cosines >= cosine)
    place = np.empty(places.max(initial=0) + 1, np.int64)
    place[places] = np.arange(len(places))
    one, other = place[near.images[row]], place[near.nearest[row, column]]
    return Pairs(
        np.minimum(one, other),
        np.maximum(one, other),
        np.full(len(row), EMBEDDED, np.int64),
        np.zeros(len(row), bool),
        near.cosines[row, column],
    )


def suspects(splits: Splits, near: Neighbours, limits: Limits) -> Iterator[Finding]:
    """Yield the images whose label so few of the nearest labelled images have."""
    labels, others = splits.labels[near.images], splits.labels[near.nearest]
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    for row in np.flatnonzero(labels >= 0).tolist():
        known = others[row][others[row] >= 0]
        own = np.count_nonzero(known == labels[row])
        if not len(known) or own > limits.label_share * len(known) or sizes[labels[row]] <= SMALL:
            continue
        counts = np.bincount(known)
        top = int(counts.argmax())
        shown = (
            f"{own} of the {len(known)} nearest have its label, {counts[top]} are {splits.class_names[top]}"
        )
        yield Finding("suspect_label", int(near.images[row]), shown, weight=-counts[top] / len(known))


def outliers(near: Neighbours, limits: Limits) -> Iterator[Finding]:
    """Yield the images that are farther from their nearest ones than nearly all are from theirs."""
    if not near.cosines.size:
        return
    mean = near.cosines.mean(axis=1)
    low, high = np.percentile(1 - mean, [25, 75])
    for row in np.flatnonzero(1 - mean > high + limits.outlier * (high - low)).tolist():
        shown = f"cosine {mean[row]:.2f} to the nearest, {1 - (low + high) / 2:.2f} is usual"
        yield Finding("outlier", int(near.images[row]), shown, weight=float(mean[row]))
