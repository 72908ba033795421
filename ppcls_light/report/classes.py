"""Scores of an evaluation by class, and the picture of its confusion matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

import numpy as np

from ..base.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Numbers of classes up to which the picture has counts, and names; above the last, a cell is a block of classes.
_COUNTED, _NAMED, _CELLS = 30, 100, 250
MOST_CONFUSED = 25  # pairs of classes that are shown


class ClassScores(NamedTuple):
    """For each class, float64 (K,): NaN where there is nothing to divide by; `support` is int64.

    precision: share of the images called so that are so. recall: share of its images that are found.
    f1: their harmonic mean. support: its images.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray

    @property
    def macro(self) -> dict[str, float]:
        """Means over the classes that have a number: {"precision", "recall", "f1"}.

        Those of scikit-learn with average="macro", zero_division=numpy.nan and all K as labels: a class without images
        has no recall, one that nothing was taken for no precision, and one that is neither no F1.
        """
        return {name: float(np.nanmean(getattr(self, name))) for name in ("precision", "recall", "f1")}


def confusion_matrix(
    labels: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, class_num: int
) -> np.ndarray:
    """Return int64 (K, K): numbers of images of the row's class that were taken for the column's."""
    cells = np.asarray(labels, np.int64) * class_num + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=class_num**2).reshape(class_num, class_num)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Return the ClassScores of a confusion matrix, (K, K) with labels as rows."""
    right, support, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return ClassScores(right / called, right / support, 2 * right / (support + called), support)


def most_confused(confusion: np.ndarray) -> list[tuple[int, int]]:
    """Return up to `MOST_CONFUSED` pairs (label, prediction) of a confusion matrix (K, K), the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED].tolist()
    return [divmod(index, len(wrong)) for index in order if wrong.flat[index]]


def draw_confusion(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Return a matplotlib Figure of a confusion matrix (K, K), its rows as shares of the label's images.

    Few classes have their names and counts. Many have the pairs most often confused beside the matrix, of
    which each dot shows the highest share among the classes it stands for.
    """
    from matplotlib.colors import PowerNorm

    class_num = len(names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    block = math.ceil(class_num / _CELLS)
    if class_num <= _COUNTED:
        side = max(5.0, 1.6 + 0.5 * class_num)
        figure = new_figure(side + 1.2, side)
        axes = figure.subplots()
    else:
        side = min(max(7.5, 0.11 * class_num), 9.5) if class_num <= _NAMED else 8.0
        figure = new_figure(side + 7.0, side)
        axes, beside = figure.subplots(1, 2, width_ratios=(side, 5.0))
        _draw_pairs(beside, confusion, names)
    # The root keeps the few images of a rare mistake visible beside a full diagonal.
    picture = axes.imshow(
        _highest(shares, block), cmap="Blues", norm=PowerNorm(0.5, 0, 1), extent=(0, class_num, class_num, 0),
        interpolation="nearest",
    )  # fmt: skip
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"])
    bar.set_label("share of the label's images")
    accuracy = confusion.trace() / max(confusion.sum(), 1)
    axes.set_title(f"{confusion.sum():,} images, {class_num} classes, accuracy {100 * accuracy:.2f} %")
    axes.set_xlabel("predicted" + (f" (a dot: the highest of {block} x {block})" if block > 1 else ""))
    axes.set_ylabel("label")
    if class_num <= _NAMED:
        size = 9 if class_num <= _COUNTED else 6
        places = np.arange(class_num) + 0.5
        shown = [plain(name) for name in names]
        axes.set_xticks(places, shown, rotation=90, fontsize=size)
        axes.set_yticks(places, shown, fontsize=size)
    if class_num <= _COUNTED:
        for row, column in zip(*np.nonzero(confusion)):
            axes.text(
                column + 0.5, row + 0.5, f"{confusion[row, column]}", ha="center", va="center", fontsize=8,
                color="white" if shares[row, column] > 0.3 else "black",
            )  # fmt: skip
    return figure


def _highest(shares: np.ndarray, block: int) -> np.ndarray:
    """Return the highest of each `block` x `block` cells of (K, K)."""
    size = math.ceil(len(shares) / block)
    padded = np.zeros((size * block, size * block))
    padded[: len(shares), : len(shares)] = shares
    return padded.reshape(size, block, size, block).max(axis=(1, 3))


def _draw_pairs(axes: Axes, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Draw a bar for each of the pairs most often confused, longest on top."""
    pairs = most_confused(confusion)
    axes.barh(range(len(pairs)), [int(confusion[pair]) for pair in pairs], color="tab:orange", height=0.7)
    axes.set_yticks(
        range(len(pairs)),
        [f"{label} {plain(names[label], 24)} → {taken} {plain(names[taken], 24)}" for label, taken in pairs],
        fontsize=7,
    )
    axes.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    ticks: Any = axes.xaxis.get_major_locator()
    ticks.set_params(integer=True)
    axes.set_title("most often confused: label → prediction")
    axes.set_xlabel("images")
    axes.spines[["top", "right"]].set_visible(False)
