"""Picture and table of a learning rate range test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..base.figures import check_matplotlib, new_figure, save_figure
from ..base.files import results, write_text
from ..engine.log import LOGGER
from ..engine.range_test import RangeTest
from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_range_test(folder: str, test: RangeTest) -> None:
    """Write points.csv (learning_rate, loss, smoothed) and curve.png and .svg into `folder`.

    Files of another test that are there are set aside, see `files.results`; without matplotlib a warning stands for
    the pictures. Raises UserError: the folder cannot be written.
    """
    rows = zip(test.rates, test.losses, test.smoothed)
    lines = ["learning_rate,loss,smoothed", *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    with results(folder) as scratch:
        write_text(os.path.join(scratch, "points.csv"), "".join(f"{line}\n" for line in lines))
        try:
            check_matplotlib("the picture")
        except UserError as problem:
            LOGGER.warning("%s", problem)
        else:
            save_figure(draw_range_test(test), os.path.join(scratch, "curve"))


def draw_range_test(test: RangeTest) -> Figure:
    """Return a matplotlib Figure with the loss over the logarithm of the rate, and the places read from it."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="C0", linewidth=0.6, alpha=0.5, label="loss of a step")
    axes.plot(test.rates, test.smoothed, color="C0", linewidth=1.8, label="smoothed")
    if test.suggestion is not None:
        for index, marker, label in (
            (test.steepest, "v", "steepest"),
            (test.minimum, "o", "least"),
            (test.bound, "X", "bound"),
        ):
            rate = test.rates[index]
            axes.plot([rate], [test.smoothed[index]], marker, color="C0", label=f"{label}: {rate:.3g}")
        axes.axvline(test.suggestion, color="C3", label=f"suggestion: {test.suggestion:.3g}")
    top = max(test.smoothed[: test.minimum + 1])
    least = test.smoothed[test.minimum]
    axes.set_ylim(least - 0.3 * (top - least or 1), top + (top - least or 1))
    axes.set_xscale("log")
    axes.set_xlabel("Optimizer.lr.learning_rate")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
