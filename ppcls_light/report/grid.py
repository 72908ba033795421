"""Picture of predictions: thumbnails with truth, prediction and score."""

from __future__ import annotations

import filecmp
import math
import os
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..base.figures import check_matplotlib
from ..base.files import atomic_path, require_writable, set_aside
from ..base.fonts import Fonts
from ..data.decode import decode_image, read_bytes
from ..engine.log import LOGGER
from ..errors import ConfigError

MOST = 64  # images in a picture
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SIDE, _GAP = 152, 10  # pixels of a thumbnail, and between cells
_LINE, _SIZE = 19, 14  # pixels between baselines, and of the letters
_INK, _FAINT, _RIGHT, _WRONG = (32, 32, 32), (112, 112, 112), (0, 114, 60), (200, 30, 30)


class Cell(NamedTuple):
    """An image of the grid."""

    picture: np.ndarray | None  # RGB uint8 (H, W, 3), None for one that cannot be read
    name: str  # of the file
    truth: int | None = None  # class, None if it is not known
    predicted: int | None = None  # class, None where the image could not be classified
    score: float = math.nan
    words: str | None = None  # the answer where it is no single class


class _Text(NamedTuple):
    """A line under an image; of its three parts `name` is cut when it is too long."""

    colour: tuple[int, int, int]
    name: str
    before: str = ""
    after: str = ""


def check_picture(path: str, wanted_by: str) -> None:
    """Raise UserError when the picture `path` that `wanted_by` names cannot be written or drawn; before long work."""
    if os.path.splitext(path)[1].lower() not in _SUFFIXES:
        raise ConfigError(f"{wanted_by}: {path}: a picture ends in {', '.join(_SUFFIXES)}")
    check_matplotlib(wanted_by)
    require_writable(path)


def write_grid(
    path: str,
    rows: Sequence[Mapping[str, Any]],
    truths: Sequence[int | None],
    names: Sequence[str] | None = None,
    of_classes: bool = True,
) -> None:
    """Write the picture `path` of result `rows` (see `PostProcessor`) whose classes are `truths`, if known.

    The first class of a row is the prediction; where they are not `of_classes` all that a row says is. Of more than
    `MOST` rows it has so many, evenly over all. A picture of something else that is there is set aside, see
    `files.set_aside`. Raises UserError: it cannot be written.
    """
    chosen = [index * len(rows) // MOST for index in range(MOST)] if len(rows) > MOST else range(len(rows))
    cells = [_cell(rows[index], truths[index], of_classes) for index in chosen]
    sheet, problems = draw_grid(cells, names)
    with atomic_path(path) as temporary:
        sheet.save(temporary, _SUFFIXES[os.path.splitext(path)[1].lower()], quality=90)
        if os.path.exists(path) and not filecmp.cmp(temporary, path, shallow=False):
            aside = set_aside(os.path.dirname(path) or ".", [os.path.basename(path)])
            LOGGER.warning("%s of something else moved to %s", path, aside)
    for problem in problems:
        LOGGER.warning("%s", problem)
    shown = (
        f"{len(rows)} images" if len(chosen) == len(rows) else f"{MOST} of {len(rows)} images, evenly chosen"
    )
    LOGGER.info("picture of %s in %s", shown, path)


def _cell(row: Mapping[str, Any], truth: int | None, of_classes: bool) -> Cell:
    path = row["file_name"]
    if "error" in row:
        return Cell(None, os.path.basename(path), truth)
    picture = Image.fromarray(decode_image(read_bytes(path)))
    picture.thumbnail((_SIDE, _SIDE))  # at once: a photo has a hundred times the pixels
    pixels, name = np.asarray(picture), os.path.basename(path)
    if not of_classes:
        return Cell(pixels, name, words=_words(row))
    return Cell(pixels, name, truth, row["class_ids"][0], row["scores"][0])


def _words(row: Mapping[str, Any]) -> str:
    """Return the tags, attributes or scores of a row."""
    if "attributes" in row:
        said = row["attributes"]
    elif "class_ids" in row:
        said = row["label_names"] or row["class_ids"] or "no tag"
    else:
        said = row["scores"]
    return said if isinstance(said, str) else ", ".join(map(str, said))


def draw_grid(cells: Sequence[Cell], names: Sequence[str] | None = None) -> tuple[Image.Image, list[str]]:
    """Return a picture of `cells`, row by row, and lines that say what of it cannot be read as it should.

    Under an image stand prediction and score, green and ticked where they are right, red and crossed with the truth
    where they are wrong; without a truth the file's name. Names are cut to the width of an image, with an ellipsis.

    Raises UserError: matplotlib is not installed.
    """
    fonts = Fonts(_SIZE, "the picture of predictions")
    columns = max(1, math.ceil(math.sqrt(len(cells) * 1.4)))
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + 6 + _GAP
    size = columns * width + _GAP, math.ceil(len(cells) / columns) * height + _GAP
    sheet = Image.new("RGB", size, (255, 255, 255))
    canvas = ImageDraw.Draw(sheet)
    for index, cell in enumerate(cells):
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        if cell.picture is not None:
            thumbnail = Image.fromarray(cell.picture)
            thumbnail.thumbnail((_SIDE, _SIDE))
            place = left + (_SIDE - thumbnail.width) // 2, top + (_SIDE - thumbnail.height) // 2
            sheet.paste(thumbnail, place)
        for line, text in enumerate(_caption(cell, fonts, names), 1):
            x, room = float(left), _SIDE - fonts.width(text.before) - fonts.width(text.after)
            for part in (text.before, fonts.cut(text.name, room), text.after):
                fonts.draw(canvas, x, top + _SIDE + line * _LINE, part, text.colour)
                x += fonts.width(part)
    return sheet, list(fonts.problems())


def _caption(cell: Cell, fonts: Fonts, names: Sequence[str] | None) -> list[_Text]:
    """Return the lines under an image."""

    def named(label: int) -> str:
        number = f"class {label}"
        return number if names is None else fonts.readable(names[label], number)

    if cell.words is not None:
        return [
            _Text(_INK, fonts.readable(cell.words, "…")),
            _Text(_FAINT, fonts.readable(cell.name, "…")),
        ]
    if cell.predicted is None:
        return [_Text(_WRONG, "no answer"), _Text(_FAINT, fonts.readable(cell.name, "…"))]
    name, score = named(cell.predicted), f" {100 * cell.score:.0f} %"
    if cell.truth is None:
        return [_Text(_INK, name, after=score), _Text(_FAINT, fonts.readable(cell.name, "…"))]
    if cell.truth == cell.predicted:
        return [_Text(_RIGHT, name, "✓ ", score)]
    return [_Text(_WRONG, name, "✗ ", score), _Text(_INK, named(cell.truth), "is ")]
