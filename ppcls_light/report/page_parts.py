"""Parts that the pages of evaluations share: their sections with a table of contents, charts, captions and cards."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..base.figures import as_svg
from ..base.files import StrPath, write_text
from ..base.html import Markup, link, page, section, table, text
from .curves import Run, draw_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
.chart { width: 100%; max-width: 540px; background: white; border-radius: 8px; }
.wide .chart { min-width: 760px; max-width: 1100px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 12px; }
.matrix td, .matrix th { padding: 0; border: 1px solid var(--line); text-align: right; font-size: 13px; }
.matrix thead th { writing-mode: vertical-rl; padding: 6px 4px; text-align: left; font-weight: 600; }
.matrix th:first-child { position: sticky; left: 0; background: Canvas; padding: 2px 8px; white-space: nowrap; }
.matrix thead th:first-child { writing-mode: horizontal-tb; vertical-align: bottom; font-weight: 400; }
.matrix td { min-width: 34px; }
.matrix td a { display: block; padding: 5px 6px; color: inherit; text-decoration: none; }
.matrix td a:hover, .matrix td a:focus { outline: 2px solid var(--accent); }
.cell { display: none; }
.cell:target { display: block; }
.explained { display: flex; align-items: flex-start; border: 1px solid var(--line); border-radius: 8px; }
.explained figure { border: 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 8px 0; }
.warning { border-left: 4px solid #d97706; padding-left: 8px; }
"""


LEARNED = Markup(
    '<p class="warning">The network was trained on these images. Scores of what was learned say little of new images, '
    "and wrong labels that were learned are repeated, not found.</p>"
)


def write_parts(
    path: StrPath,
    card: Mapping[str, Mapping[str, Any]],
    summary: Markup,
    parts: Mapping[str, Iterable[Markup]],
) -> None:
    """Write a page of `parts`, {title: content}, below a `summary` to `path`; the network of `card` is in its title.

    Raises UserError: it cannot be written.
    """
    anchors = {title: title.lower().replace(" ", "-") for title in parts}
    contents = "".join(link(anchors[title], title) for title in parts)
    sections = [section(title, *content, anchor=anchors[title]) for title, content in parts.items()]
    network = card.get("model", {}).get("network")
    title = f"Evaluation of {network}" if network else "Evaluation"
    write_text(path, page(title, Markup(f"<nav>{contents}</nav>"), summary, *sections, style=_STYLE))


def percent(value: float) -> str:
    """Return a share in percent, "" for NaN."""
    return "" if np.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def whole_percent(value: float) -> str:
    """Return a share in whole percent, "" for NaN."""
    return "" if np.isnan(value) else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def caption(said: str, path: str) -> Markup:
    """Return what is said about an image, and below it the name of its file."""
    return Markup(f"{text(said)}<br>{text(os.path.basename(path))}")


def training(history: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    """Yield the learning curves of the rows of a metrics.jsonl."""
    yield chart(
        draw_curves([Run("this training", [dict(row) for row in history])]), "learning curves", wide=True
    )


def card_tables(card: Mapping[str, Mapping[str, Any]]) -> Iterator[Markup]:
    """Yield a table for each section of a card."""
    for title, values in card.items():
        yield Markup(f"<h3>{text(title)}</h3>")
        yield table(("", ""), [(name, _value(value)) for name, value in values.items()])


def _value(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def chart(figure: Figure, alt: str, wide: bool = False) -> Markup:
    """Return a figure as a picture in the page; a `wide` one scrolls sideways in a narrow window."""
    data = base64.b64encode(as_svg(figure)).decode()
    image = f'<img class="chart" src="data:image/svg+xml;base64,{data}" alt="{text(alt)}">'
    return Markup(f'<div class="wide">{image}</div>' if wide else image)
