"""Charts of an evaluation for its page: calibration, thresholds, precision and recall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ..base.figures import new_figure, plain
from ..base.operating_points import OperatingPoints
from .evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 5.0, 4.0  # inches: letters of 10 points can still be read on a phone
_LINES = 10  # classes whose curves can be told apart
_SHARES = np.linspace(0, 1, 6)


def draw_reliability(evaluation: Evaluation) -> Figure:
    """Return the reliability diagram: accuracy by confidence, a bar per bin, and the gap to the diagonal."""
    diagram = evaluation.reliability
    figure, axes = new_chart("confidence", "accuracy")
    width, filled = 1 / len(diagram.count), diagram.count > 0
    middle = (diagram.edges[:-1] + diagram.edges[1:])[filled] / 2
    accuracy, confidence = diagram.accuracy[filled], diagram.confidence[filled]
    axes.bar(middle, accuracy, width, color="tab:blue", edgecolor="white", linewidth=0.6, label="accuracy")
    axes.bar(
        middle, confidence - accuracy, 0.35 * width, accuracy, color="tab:orange", alpha=0.8, label="gap"
    )
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    axes.legend(fontsize=8, loc="upper left")
    axes.set_title(f"expected calibration error {100 * diagram.ece:.1f} %", fontsize=10)
    return figure


def draw_thresholds(evaluation: Evaluation) -> Figure:
    """Return coverage and accuracy over the threshold of the score."""
    curve = evaluation.coverage
    figure, axes = new_chart("least score of an answer that counts", "share")
    axes.plot(curve.thresholds, curve.coverage, color="tab:blue", label="answers that count")
    axes.plot(curve.thresholds, curve.accuracy, color="tab:orange", label="right ones among them")
    axes.legend(fontsize=8, loc="lower left")
    axes.set_title("coverage and accuracy by threshold", fontsize=10)
    return figure


def draw_precision_recall(
    names: Sequence[str], curves: Sequence[OperatingPoints | None], average: np.ndarray, kind: str = "classes"
) -> Figure:
    """Return precision over recall of classes or tags by name; of more than 10, those of the least average precision.

    `average` is their average precision, (K,), NaN of those without images, which are left out.
    """
    figure, axes = new_chart("recall", "precision")
    there = np.flatnonzero(~np.isnan(average))
    shown = there[np.argsort(average[there], kind="stable")][:_LINES]
    for place, label in enumerate(shown.tolist()):
        # The number first: a legend leaves out what begins with an underscore.
        name = f"{average[label]:.2f} {plain(names[label], 18)}"
        curve = curves[label]
        if curve is not None:
            axes.plot(curve.recall, curve.precision, color=f"C{place}", linewidth=1.3, label=name)
    if shown.size:
        free = "lower left" if average[shown].mean() >= 0.5 else "upper right"  # where few curves pass
        axes.legend(fontsize=7, loc=free, title="average precision", title_fontsize=7)
    few = "" if len(shown) == len(there) else f", the {len(shown)} lowest of {len(there)} {kind}"
    axes.set_title(f"precision and recall{few}", fontsize=10)
    return figure


def new_chart(across: str, up: str) -> tuple[Figure, Axes]:
    """Return a figure and its axes, both of shares from 0 to 1."""
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_xticks(_SHARES)
    axes.set_yticks(_SHARES)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
