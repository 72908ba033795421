"""Learning curves of one or several runs, from their metrics.jsonl."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

from ..base.figures import new_figure, plain
from ..base.files import short_names
from ..config.metrics import RESULT_NAMES
from ..engine.history import FILE_NAME, is_finite_number, read_history
from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run(NamedTuple):
    """Training run: its name in the legend and the rows of its metrics.jsonl (see `history`)."""

    name: str
    rows: list[dict[str, Any]]

    def curve(self, split: str, value: str) -> list[list[float]]:
        """Return the epochs done and the numbers called `value` of the rows of `split`, as two lists."""
        points = [
            (row["epoch"], row.get("lr") if value == "lr" else row["values"].get(value))
            for row in self.rows
            if row.get("split") == split
        ]
        points = [(epoch, number) for epoch, number in points if is_finite_number(number)]
        return [list(column) for column in zip(*points)] or [[], []]


def read_runs(folders: Sequence[str]) -> list[Run]:
    """Return a Run for each of the output folders; names are as short as keeps them apart.

    Raises DataError: a folder has no metrics.jsonl, or nothing is in it yet.
    """
    runs = []
    for folder, name in zip(folders, short_names(folders)):
        path = os.path.join(folder, FILE_NAME)
        try:
            rows = read_history(path)
        except OSError as problem:
            raise DataError(
                f"{path}: {problem.strerror}; give the Global.output_dir of a training run"
            ) from None
        if not rows:
            raise DataError(f"{path} has no rows yet; it gets the first at the first printed step")
        runs.append(Run(name, rows))
    return runs


def draw_curves(runs: Sequence[Run]) -> Figure:
    """Return a matplotlib Figure with loss, first metric and learning rate of `runs` over the epochs.

    A run is a colour. Training is thin while an epoch goes on and a full line for the means of epochs,
    evaluation is dashed.
    """
    figure = new_figure(15, 5.2)
    loss, accuracy, rate = figure.subplots(1, 3)
    metric = first_metric(runs)
    for index, run in enumerate(runs):
        color = f"C{index % 10}"
        for axes, value in ((loss, "loss"), (accuracy, metric)):
            axes.plot(*_broken_at_epochs(*run.curve("train", value)), color=color, linewidth=0.6, alpha=0.5)
            axes.plot(*run.curve("train_avg", value), color=color, marker=".", markersize=4, linewidth=1.6)
            axes.plot(*run.curve("eval", value), color=color, marker="o", markersize=3, linewidth=1.6,
                      linestyle="--")  # fmt: skip
        rate.plot(*run.curve("train", "lr"), color=color, linewidth=1.6)
        rate.plot([], [], color=color, linewidth=3, label=_label(run, metric))
    for axes, title in (
        (loss, "loss"),
        (accuracy, f"{metric} accuracy" if metric.startswith("top") else metric),
        (rate, "learning rate"),
    ):
        axes.set_title(title)
        axes.set_xlabel("epochs")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    for linestyle, width, label in (
        ("-", 0.6, "train, within the epoch"),
        ("-", 1.6, "train, epoch"),
        ("--", 1.6, "evaluation"),
    ):
        loss.plot([], [], color="black", linestyle=linestyle, linewidth=width, label=label)
    loss.legend(fontsize=8)
    figure.legend(*rate.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(runs), 3))
    return figure


def _broken_at_epochs(epochs: list[float], numbers: list[float]) -> list[list[float]]:
    """Return the curve with a gap where an epoch ends: the means that `train` rows hold begin anew there."""
    points: list[tuple[float, float]] = []
    for epoch, number in zip(epochs, numbers):
        if points and math.ceil(epoch) > math.ceil(points[-1][0]):
            points.append((epoch, math.nan))
        points.append((epoch, number))
    return [list(column) for column in zip(*points)] or [[], []]


def first_metric(runs: Sequence[Run]) -> str:
    """Return the metric to draw: the first that the evaluations, or else the training, measured."""
    for split in ("eval", "train_avg", "train"):
        for run in runs:
            for row in run.rows:
                found = [name for name in row["values"] if name.startswith("top") or name in RESULT_NAMES]
                if row.get("split") == split and found:
                    return found[0]
    return "top1"


def _label(run: Run, metric: str) -> str:
    epochs, numbers = run.curve("eval", metric)
    if not numbers:
        return plain(run.name, 60)
    best, epoch = max(zip(numbers, epochs))  # of equal ones the last, as best_model
    return f"{plain(run.name, 60)} (best {metric} {100 * best:.2f} % after epoch {epoch:g})"
