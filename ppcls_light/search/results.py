"""Results of a search: trials.csv and trials.png, and the config of the best trial."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Iterable, Sequence

from ..base.figures import check_matplotlib, new_figure, plain, save_figure
from ..base.files import write_text
from ..base.tables import write_csv
from ..config import dump_config, load_config
from ..engine.log import LOGGER
from ..errors import UserError
from .training import in_folder
from .trials import DEFAULT, Row, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = 3  # in a line


def write_table(folder: str, rows: Sequence[Row], metric: str) -> None:
    """Write trials.csv: a row for each trial, in the order in which they began. Raises UserError."""
    keys = _keys(rows)
    columns = ["trial", "state", metric, *keys, "folder", "reason"]
    table = [
        [
            *(row.trial.name, row.state, "" if row.score is None else f"{row.score:.6g}"),
            *(shown(row.trial.values[key]) if key in row.trial.values else "" for key in keys),
            *(row.folder, row.reason),
        ]
        for row in rows
    ]
    write_csv(os.path.join(folder, "trials.csv"), columns, table)


def write_picture(folder: str, rows: Sequence[Row], metric: str) -> None:
    """Write trials.png and .svg; without matplotlib a warning stands for them. Raises UserError."""
    try:
        check_matplotlib("the picture of the trials")
    except UserError as problem:
        LOGGER.warning("%s", problem)
        return
    save_figure(draw_trials(rows, metric), os.path.join(folder, "trials"))


def write_config(path: str, row: Row, folder: str) -> None:
    """Write the config of a trial, with every value, for a training in `folder`. Raises UserError."""
    config = load_config(
        row.trial.file, [*row.trial.overrides, *in_folder(folder), "Global.checkpoints=null"]
    )
    write_text(path, dump_config(config))


def draw_trials(rows: Sequence[Row], metric: str) -> Figure:
    """Return a matplotlib Figure with a panel for each searched key: the score over its value.

    A star is the best of the panel, a cross on the lower edge a trial without a score, and a dashed line the score of
    the config as it is.
    """
    keys = _keys(rows)
    lines = math.ceil(len(keys) / _PANELS)
    figure = new_figure(4.2 * min(len(keys), _PANELS), 3.6 * lines)
    panels = figure.subplots(lines, min(len(keys), _PANELS), squeeze=False, sharey=True).ravel()
    default = next((row.score for row in rows if row.trial.name == DEFAULT and row.score is not None), None)
    for axes, key in zip(panels, keys):
        own = [row for row in rows if key in row.trial.values and row.ended]
        _draw_panel(axes, key, own)
        if default is not None:
            axes.axhline(default, color="grey", linestyle="--", linewidth=1, label="config as it is")
        axes.set_xlabel(plain(key))
        axes.grid(alpha=0.3)
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for place in range(0, len(keys), _PANELS):
        panels[place].set_ylabel(plain(metric))
    named = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), fontsize=9)
    return figure


def _draw_panel(axes: Axes, key: str, rows: Sequence[Row]) -> None:
    places = _places(axes, [row.trial.values[key] for row in rows])
    scored = [(place, row) for place, row in zip(places, rows) if row.score is not None]
    for state, color in (("complete", "C0"), ("pruned", "C1")):
        points = [(place, row.score) for place, row in scored if row.state == state]
        if points:
            axes.plot(*zip(*points), "o", color=color, alpha=0.7, label=state)
    lost = [place for place, row in zip(places, rows) if row.score is None]
    if lost:
        edge = axes.get_xaxis_transform()  # heights of the panel, whatever its scores
        axes.plot(lost, [0.03] * len(lost), "x", color="C3", transform=edge, label="failed")
    complete = [
        (row.score or 0.0, -number, place)
        for number, (place, row) in enumerate(scored)
        if row.state == "complete"
    ]
    if complete:
        score, _, place = max(complete)
        axes.plot([place], [score], "*", color="C2", markersize=15, label="best")


def _places(axes: Axes, values: Sequence[Any]) -> list[float]:
    """Return where the `values` are on the x axis: numbers as they are, others one beside the other, by name."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        least, most = min(values), max(values)
        if least > 0 and most / least >= 10:
            axes.set_xscale("log")
        return [float(value) for value in values]
    names = list(dict.fromkeys(map(shown, values)))
    axes.set_xticks(
        range(len(names)), [plain(name, 24) for name in names], rotation=20, ha="right", fontsize=8
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    return [float(names.index(shown(value))) for value in values]


def _keys(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.trial.values))
