"""Rows of tools/benchmarks/learn.py: their CSV files, tables and pictures."""

from __future__ import annotations

import csv
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Dict, List, NamedTuple, Tuple

from ppcls_light.base.figures import new_figure, save_figure
from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.errors import DataError

OURS, TORCH = "ppcls_light", "PyTorch"
SIDES = (OURS, TORCH)

# A row is the training of one side from one seed; of the last two a cell has a number per epoch.
KEY = ("model", "side", "seed", "recipe", "images", "versions")
RUN_COLUMNS = (*KEY, "threads", "machine", "top-1", "training loss by epoch", "top-1 by epoch")
TORCH_64, GUIDED = "PyTorch in float64", "ppcls_light from PyTorch's weights at each step"
# A row is one step of both sides.
STEP_COLUMNS = ("model", "recipe", "step", OURS, TORCH, TORCH_64, GUIDED, "threads", "machine", "versions")
STEP_TABLE = (
    *("model", "recipe", "steps", f"loss, {OURS} from {TORCH}", f"{TORCH} from itself in float64"),
    *("loss, from the same weights at each step", "update, the same", "running statistics, the same"),
)


class Losses(NamedTuple):
    """Losses by step of four trainings from the same weights on the same batches."""

    ours: Sequence[float]
    theirs: Sequence[float]
    theirs_64: Sequence[float]
    guided: Sequence[float]  # ours, from PyTorch's weights at each step


Row = Dict[str, Any]


def key(row: Row) -> Tuple[str, ...]:
    """Return the part of a row that says which training it is of, the machine left aside."""
    return tuple(str(row[column]) for column in KEY)


def read_runs(path: str) -> List[Row]:
    """Return the rows of a CSV of runs, [] where there is no file. Raises DataError: it has other columns."""
    if not os.path.exists(path):
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["top-1"] = float(row["top-1"])
            for column in RUN_COLUMNS[-2:]:
                row[column] = [float(number) for number in row[column].split()]
            key(row)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, csv.Error):
        raise DataError(f"{path} is no CSV of tools/benchmarks/learn.py; give another --out") from None
    return rows


def write_runs(path: str, rows: Iterable[Row]) -> None:
    def cell(value: Any) -> Any:
        return " ".join(f"{number:.6g}" for number in value) if isinstance(value, list) else value

    write_csv(path, RUN_COLUMNS, [[cell(row[column]) for column in RUN_COLUMNS] for row in rows])


def by_model(rows: Iterable[Row]) -> Dict[str, Dict[str, List[Row]]]:
    """Return {model: {side: its rows}} of the models that both sides have trained, in order of the rows."""
    found: Dict[str, Dict[str, List[Row]]] = {}
    for row in rows:
        found.setdefault(row["model"], {}).setdefault(row["side"], []).append(row)
    return {model: sides for model, sides in found.items() if len(sides) == len(SIDES)}


def mean_and_deviation(numbers: Sequence[float]) -> Tuple[float, float]:
    """Return the mean and the sample's standard deviation, which is nan for one number."""
    return statistics.mean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else math.nan


def _with_deviation(numbers: Sequence[float], digits: int) -> str:
    mean, deviation = mean_and_deviation(numbers)
    return f"{mean:.{digits}f}" + ("" if math.isnan(deviation) else f" ± {deviation:.{digits}f}")


def apart(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether every number of one side is above all of the other; no for a side with a single one."""
    if min(len(first), len(second)) < 2:
        return False
    return min(first) > max(second) or min(second) > max(first)


def runs_table(rows: Iterable[Row]) -> str:
    """Return the Markdown table of the models that both sides have trained, and a line of those that differ."""
    lines, beyond = [], []
    for model, sides in by_model(rows).items():
        cells: List[object] = [
            model,
            sides[OURS][0]["recipe"],
            " and ".join(str(len(sides[s])) for s in SIDES),
        ]
        for name, digits, value in (
            ("top-1", 2, lambda row: row["top-1"]),
            ("training loss", 4, lambda row: row["training loss by epoch"][-1]),
        ):
            ours, theirs = ([value(row) for row in sides[side]] for side in SIDES)
            difference = statistics.mean(ours) - statistics.mean(theirs)
            cells += [
                _with_deviation(ours, digits),
                _with_deviation(theirs, digits),
                f"{difference:+.{digits}f}",
            ]
            if apart(ours, theirs):
                beyond.append(f"{model} ({name})")
        lines.append(cells)
    columns = ["model", "recipe", "seeds"]
    for name in ("test top-1 (%)", "training loss"):
        columns += [f"{name}, {OURS}", TORCH, "difference"]
    verdict = ", ".join(beyond) or "none"
    return (
        f"{markdown_table(columns, lines)}\nmean ± standard deviation over the seeds, after the last epoch; "
        f"beyond the spread of the seeds, every run of one side above all of the other: {verdict}\n"
    )


def relative_differences(ours: Sequence[float], theirs: Sequence[float]) -> List[float]:
    return [abs(one - other) / abs(other) for one, other in zip(ours, theirs)]


def largest_differences(losses: Losses) -> Tuple[float, float, float]:
    """Return the largest relative differences: ours from PyTorch's, its own from float64, and ours when guided."""
    ours, theirs, theirs_64, guided = losses
    pairs = (ours, theirs), (theirs, theirs_64), (guided, theirs)
    first, second, third = (max(relative_differences(*pair)) for pair in pairs)
    return first, second, third


def draw_runs(rows: Iterable[Row]) -> Any:
    """Return a matplotlib Figure: training loss and test top-1 by epoch, a line per seed, a row per model."""
    models = by_model(rows)
    figure = new_figure(11, 1 + 3 * len(models))
    panels = figure.subplots(len(models), 2, squeeze=False)
    for (model, sides), (loss, top1) in zip(models.items(), panels):
        for axes, column in ((loss, "training loss by epoch"), (top1, "top-1 by epoch")):
            for color, side in enumerate(SIDES):
                for row in sides[side]:
                    numbers = row[column]
                    style = "-" if side == OURS else "--"
                    axes.plot(range(1, len(numbers) + 1), numbers, style, color=f"C{color}", linewidth=1.2)
            axes.set_title(f"{model}, {column.partition(' by ')[0]}")
        top1.set_ylabel("test images (%)")
    return _finished(figure, "epochs")


def draw_steps(curves: Dict[str, Losses]) -> Any:
    """Return a matplotlib Figure of the losses of each model by step, and of their relative differences."""
    figure = new_figure(11, 1 + 3 * len(curves))
    panels = figure.subplots(len(curves), 2, squeeze=False)
    for (model, losses), (loss, difference) in zip(curves.items(), panels):
        ours, theirs, theirs_64, guided = losses
        steps = range(1, len(ours) + 1)
        loss.plot(steps, ours, "-", color="C0", linewidth=1.2)
        loss.plot(steps, theirs, "--", color="C1", linewidth=1.2)
        loss.set_title(f"{model}, training loss")
        for name, color, pair in (
            (f"{OURS} from {TORCH}", "C0", (ours, theirs)),
            (f"{TORCH} from itself in float64", "C1", (theirs, theirs_64)),
            ("from the same weights at each step", "C2", (guided, theirs)),
        ):
            # Equal ones have no place on a logarithmic axis.
            numbers = [number or math.nan for number in relative_differences(*pair)]
            difference.semilogy(steps, numbers, ".-", color=color, label=name, linewidth=0.8)
        difference.set_title(f"{model}, relative difference of the loss")
        difference.legend(fontsize=8)
    return _finished(figure, "steps")


def _finished(figure: Any, time: str) -> Any:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    for axes in figure.axes[-2:]:
        axes.set_xlabel(time)
    lines = [figure.axes[0].plot([], [], style, color=f"C{i}")[0] for i, style in enumerate(("-", "--"))]
    figure.legend(lines, SIDES, loc="outside lower center", ncols=2)
    return figure


def save(figure: Any, path: str) -> None:
    for file in save_figure(figure, path):
        print(file)
