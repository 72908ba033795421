"""HTML pages that are one file each: no network, no script, readable on a phone and in the dark; and parts of them.

`page` makes the file of `section`s, which hold `paragraph`s, `table`s, `gallery`s of `picture`s, and `details` to
unfold. Each takes text, which it escapes, or `Markup`, which the functions here return; SVG becomes `Markup(svg)`.
A page may embed pictures and styles, and loads and runs nothing: its content security policy says so to the browser.
"""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Iterable, Sequence

import numpy as np
from PIL import Image

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PNG = b"\x89PNG"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --faint: #888; --accent: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --accent: #7aa2ff; } }
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1200px; padding: 16px; font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 24px; margin: 8px 0; }
h2 { font-size: 19px; margin: 32px 0 8px; }
p { margin: 4px 0 8px; max-width: 75ch; }
a { color: var(--accent); }
.wide { overflow-x: auto; overflow-wrap: normal; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 3px 10px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.gallery { display: flex; flex-wrap: wrap; gap: 10px; margin: 8px 0; align-items: flex-start; }
figure {
  margin: 0; padding: 6px; min-width: 96px; max-width: 100%;
  border: 1px solid var(--line); border-radius: 8px; background: var(--soft);
}
figure img { display: block; max-width: 100%; height: auto; border-radius: 4px; margin: auto; }
figcaption {
  font-size: 12px; line-height: 1.35; margin-top: 4px; width: min-content; min-width: 100%; color: var(--faint);
}
details { margin: 8px 0; }
summary { cursor: pointer; font-weight: 600; }
svg { max-width: 100%; height: auto; }
"""


class Markup(str):
    """HTML that is ready to stand in a page; any other text is escaped."""


def text(value: object) -> Markup:
    """Return `value` as HTML: `Markup` as it is, None as nothing, all else as escaped text.

    Control characters, and broken bytes in file names, become their escapes.
    """
    if isinstance(value, Markup):
        return value
    plain = "" if value is None else str(value)
    return Markup(html.escape(_UNSEEN.sub(lambda match: ascii(match[0])[1:-1], plain)))


def page(title: object, *parts: object, style: str = "") -> str:
    """Return an HTML file with `parts` below the heading `title`; `style` is CSS in addition to the page's own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n{_joined(parts)}\n</body>\n</html>\n"
    )


def section(title: object, *parts: object, anchor: str | None = None) -> Markup:
    """Return a section with a heading; `link(anchor, ...)` leads there."""
    place = "" if anchor is None else f' id="{text(anchor)}"'
    return Markup(f"<section{place}>\n<h2>{text(title)}</h2>\n{_joined(parts)}\n</section>")


def link(anchor: str, content: object) -> Markup:
    """Return a link to the section `anchor` of the same page."""
    return Markup(f'<a href="#{text(anchor)}">{text(content)}</a>')


def paragraph(*parts: object) -> Markup:
    """Return a paragraph."""
    return Markup(f"<p>{''.join(map(text, parts))}</p>")


def details(summary: object, *parts: object, unfolded: bool = False) -> Markup:
    """Return parts below a summary, on which a click unfolds them."""
    state = " open" if unfolded else ""
    return Markup(f"<details{state}><summary>{text(summary)}</summary>\n{_joined(parts)}\n</details>")


def table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table that scrolls sideways in a narrow window; numbers stand on the right."""
    rows = [list(row) for row in rows]
    number = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    head = _cells("th", columns, number)
    body = "\n".join(f"<tr>{_cells('td', row, number)}</tr>" for row in rows)
    return Markup(
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def thumbnail(pixels: np.ndarray, side: int = 112, quality: int = 80) -> bytes:
    """Return RGB uint8 (H, W, 3) as a JPEG file that fits into `side` x `side` pixels; smaller ones keep their size."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def picture(file: bytes | None, caption: object = "", alt: object = "") -> Markup:
    """Return a figure with an embedded JPEG or PNG file, see `thumbnail`; without one (None) the caption alone."""
    shown = ""
    if file is not None:
        kind, data = ("png" if file.startswith(_PNG) else "jpeg"), base64.b64encode(file).decode()
        shown = f'<img src="data:image/{kind};base64,{data}" alt="{text(alt)}">'
    return Markup(f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>")


def gallery(pictures: Iterable[object], left_out: int = 0) -> Markup:
    """Return pictures side by side; `left_out` more are counted below. The caller bounds their number."""
    more = f"\n{paragraph(f'and {left_out:,} more')}" if left_out else ""
    return Markup(f'<div class="gallery">\n{_joined(pictures)}\n</div>{more}')


def _joined(parts: Iterable[object]) -> str:
    return "\n".join(map(text, parts))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float, np.number)) and not isinstance(value, bool))


def _cells(tag: str, row: Iterable[object], number: Sequence[bool]) -> str:
    kinds = (' class="number"' if right else "" for right in number)
    return "".join(f"<{tag}{kind}>{_shown(value)}</{tag}>" for kind, value in zip(kinds, row))


def _shown(value: object) -> Markup:
    return text(f"{value:,}" if _is_number(value) and isinstance(value, (int, np.integer)) else value)
