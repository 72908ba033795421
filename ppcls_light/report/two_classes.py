"""Part of an evaluation's page for two classes: ROC and precision-recall curves, and the outcomes of thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Iterator, Sequence

import numpy as np

from ..base.figures import plain
from ..base.html import Markup, paragraph, table
from ..base.operating_points import OperatingPoints, Rule
from .charts import new_chart
from .page_parts import chart, percent
from .thresholds import TwoClasses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RULES = (
    Rule("f1"),
    Rule("tpr@fpr", 0.01),
    Rule("tpr@fpr", 0.001),
    Rule("precision", 0.95),
    Rule("recall", 0.95),
)


def two_class_part(two: TwoClasses) -> Iterator[Markup]:
    """Yield the curves with the threshold marked, and a table of what other thresholds do."""
    points = two.points
    yield paragraph(
        f"{two.name} (class 1) is looked for. An image is taken for it where its probability is the threshold or more; "
        f"the cross is the one in use, {two.threshold:.6g}. roc.csv has every point of both curves."
    )
    pictures = chart(draw_roc(two), "ROC curve") + chart(
        draw_tradeoff(two), "precision and recall of class 1"
    )
    yield Markup(f'<div class="charts">{pictures}</div>')
    kept = [(rule, place) for rule in _RULES if (place := rule.place(points)) and _can_tell(rule, points)]
    thresholds = [
        ("in use", two.threshold),
        ("0.5", 0.5),
        *((str(rule), points.threshold(at)) for rule, at in kept),
    ]
    yield table(
        ("rule", "threshold", "found (tpr, recall)", "taken by mistake (fpr)", "precision", "F1"),
        [_row(points, name, threshold) for name, threshold in thresholds],
    )
    yield paragraph(
        "--choose-threshold RULE keeps one of them beside the weights. Rates of few images are rough: of "
        f"{points.negatives:,} negative ones each is {percent(1 / points.negatives)}."
    )


def _can_tell(rule: Rule, points: OperatingPoints) -> bool:
    return rule.kind != "tpr@fpr" or rule.limit * points.negatives >= 1


def _row(points: OperatingPoints, name: str, threshold: float) -> tuple[object, ...]:
    found = points.outcome(threshold)
    return (
        *(name, f"{threshold:.6g}"),
        f"{found.hits:,} of {found.positives:,}, {percent(found.tpr)}",
        f"{found.false_alarms:,} of {found.negatives:,}, {percent(found.fpr)}",
        *map(percent, (found.precision, found.f1)),
    )


def draw_roc(two: TwoClasses) -> Figure:
    """Return the ROC curve, with the threshold in use; its low rates are what matters: a log scale."""
    figure, axes = new_chart(
        "share of negative images taken by mistake (fpr)", "share of positive images found (tpr)"
    )
    outcome, least = two.points.outcome(two.threshold), 0.5 / two.points.negatives  # where no image is drawn
    axes.set_xscale("log")
    axes.set_xticks([10.0**power for power in range(math.ceil(math.log10(least)), 1)])
    axes.set_xlim(least, 1)
    axes.plot(np.maximum(two.points.fpr, least), two.points.recall, color="tab:blue", linewidth=1.5)
    even = np.geomspace(least, 1)
    axes.plot(even, even, color="grey", linestyle=":", linewidth=1)
    _mark(axes, (max(outcome.fpr, least), outcome.tpr), two.threshold)
    axes.set_title(f"ROC of {plain(two.name, 18)}, area {two.points.auc:.4f}", fontsize=10)
    return figure


def draw_tradeoff(two: TwoClasses) -> Figure:
    """Return precision over recall of class 1, with the threshold in use."""
    figure, axes = new_chart("recall", "precision")
    outcome = two.points.outcome(two.threshold)
    axes.plot(two.points.recall, two.points.precision, color="tab:blue", linewidth=1.5)
    if not math.isnan(outcome.precision):
        _mark(axes, (outcome.tpr, outcome.precision), two.threshold)
    average = two.points.average_precision
    axes.set_title(f"precision and recall of {plain(two.name, 18)}, average {average:.4f}", fontsize=10)
    return figure


def _mark(axes: Axes, point: Sequence[float], threshold: float) -> None:
    label = f"threshold {threshold:.4g}"
    axes.plot(
        *point, color="tab:orange", marker="x", markersize=9, markeredgewidth=2.5, linestyle="", label=label
    )
    axes.legend(fontsize=8, loc="lower center")
