"""Picture of an explanation: image, heat map, overlay, and the most probable classes beside them."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..base.fonts import Fonts
from .overlay import coloured, overlay

SIZE = 14  # pixels of the letters
_HEIGHT, _WIDTH, _GAP, _LINE, _BESIDE = 240, 480, 10, 24, 250  # pixels: pictures at most, gap, line, classes
_INK, _FAINT, _BAR, _CHOSEN = (32, 32, 32), (112, 112, 112), (208, 216, 228), (250, 214, 120)


class Answer(NamedTuple):
    """A class that the network gives an image."""

    number: int
    name: str | None  # None where nothing names the classes
    score: float


def draw_panel(
    image: np.ndarray,
    heat: np.ndarray,
    explained: Answer,
    answers: Sequence[Answer],
    title: str,
    fonts: Fonts,
) -> Image.Image:
    """Return a picture of `image`, RGB uint8 (H, W, 3), its map `heat` (H, W) in [0, 1] and the two mixed.

    Beside them stand the `answers`, the `explained` class marked; above them stands the `title`, of the method.
    """
    scale = min(_HEIGHT / image.shape[0], _WIDTH / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    left, top = _GAP + 3 * (width + _GAP), _LINE + _GAP
    lowest = top + max(height, _LINE * len(answers)) + _GAP
    sheet = Image.new("RGB", (left + _BESIDE + _GAP, lowest), "white")
    canvas = ImageDraw.Draw(sheet)
    for index, picture in enumerate((image, coloured(heat), overlay(image, heat))):
        enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(enlarged, (_GAP + index * (width + _GAP), top))
    text = fonts.cut(f"{_named(explained, fonts)}: {title}", sheet.width - 2 * _GAP)
    fonts.draw(canvas, _GAP, _LINE, text, _INK)
    for row, answer in enumerate(answers):
        y = top + row * _LINE
        colour = _CHOSEN if answer.number == explained.number else _BAR
        canvas.rectangle((left, y, left + max(1, round(answer.score * _BESIDE)), y + _LINE - 5), colour)
        score = f" {100 * answer.score:.1f} %"
        name = fonts.cut(_named(answer, fonts), _BESIDE - fonts.width(score) - 6)
        fonts.draw(canvas, left + 4, y + SIZE, name, _INK)
        fonts.draw(canvas, left + 4 + fonts.width(name), y + SIZE, score, _FAINT)
    return sheet


def _named(answer: Answer, fonts: Fonts) -> str:
    number = f"class {answer.number}"
    return number if answer.name is None else fonts.readable(answer.name, number)
