"""Matplotlib figures, saved as PNG and SVG; matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from typing import TYPE_CHECKING, Iterator

from ..errors import UserError
from .files import StrPath, atomic_path, set_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

# Fonts with Chinese, Japanese and Korean characters, as systems name them; the first that is there helps out.
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
)


def check_matplotlib(wanted_by: str) -> None:
    """Raise UserError when matplotlib, which `wanted_by` needs, is not installed."""
    logging.getLogger("matplotlib.font_manager").addFilter(
        _is_warning
    )  # its first import lists the fonts, and says so
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UserError(f'{wanted_by} needs matplotlib; pip install "ppcls_light[plot]"') from None


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def new_figure(width: float, height: float) -> Figure:
    """Return an empty matplotlib Figure of `width` x `height` inches that lays itself out."""
    check_matplotlib("a figure")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    cjk = [name for name in _CJK_FONTS if name in installed][:1]
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", *cjk]
    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str, longest: int = 28) -> str:
    """Return `text` for a label: cut when it is longer, and without the meaning that "$" has to matplotlib."""
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: StrPath, source: str | None = None) -> list[str]:
    """Save `figure` as `path`.png and `path`.svg (a suffix of either kind is left off) and return the two.

    `source`, one line about the data, is kept in the files. Pictures of another source, or of none, are set aside, see
    `files.set_aside`; without it they are replaced. Raises UserError: a file cannot be written.
    """
    root, suffix = os.path.splitext(os.fspath(path))
    root = root if suffix.lower() in (".png", ".svg") else os.fspath(path)
    files = [f"{root}.png", f"{root}.svg"]
    there = [file for file in files if os.path.lexists(file)]
    if source is not None and there and _source(files[0]) != source:
        folder = os.path.dirname(root) or "."
        aside = set_aside(folder, [os.path.basename(file) for file in there])
        logger.warning("%s of something else moved to %s", ", ".join(there), aside)
    for file in files:
        with atomic_path(file) as temporary, _quiet_glyphs():
            metadata = None if source is None else {"Source": source}
            figure.savefig(temporary, format=file[-3:], dpi=150, metadata=metadata)
    return files


def _source(path: str) -> str | None:
    """Return the source that `save_figure` has kept in a PNG file, or None."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.info.get("Source")
    except (OSError, ValueError, SyntaxError):  # the last is Pillow's for a broken PNG
        return None


def as_svg(figure: Figure) -> bytes:
    """Return `figure` as an SVG file to embed; the same figure gives the same bytes."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ppcls_light"}), _quiet_glyphs():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


@contextlib.contextmanager
def _quiet_glyphs() -> Iterator[None]:
    """Keep quiet about a character that no installed font has: it is drawn as a box; the tables have it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def as_png(figure: Figure) -> bytes:
    """Return `figure` as a PNG file of 100 pixels per inch."""
    file = io.BytesIO()
    with _quiet_glyphs():
        figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
