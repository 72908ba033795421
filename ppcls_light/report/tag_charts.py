"""Picture of which tags come together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ..base.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COUNTED, _NAMED = 30, 120  # numbers of tags up to which cells have numbers, and rows names


def draw_cooccurrence(together: np.ndarray, names: Sequence[str]) -> Figure:
    """Return a picture of the numbers (K, K) of images that have two tags, as shares of those with the row's tag."""
    count = len(names)
    shares = together / np.maximum(together.diagonal(), 1)[:, None]
    side = max(4.5, min(1.8 + 0.5 * count, 11.0))
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    image = axes.imshow(
        shares, cmap="Blues", vmin=0, vmax=1, extent=(0, count, count, 0), interpolation="nearest"
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the row's images")
    axes.set_xlabel("have this tag, too")
    axes.set_ylabel("images with this tag")
    if count <= _NAMED:
        size, places = (9 if count <= _COUNTED else 5), np.arange(count) + 0.5
        shown = [plain(name) for name in names]
        axes.set_xticks(places, shown, rotation=90, fontsize=size)
        axes.set_yticks(places, shown, fontsize=size)
    if count <= _COUNTED:
        for row, column in zip(*np.nonzero(together)):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{together[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
            )
    return figure
