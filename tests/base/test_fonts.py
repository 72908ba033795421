"""Fonts of texts in several scripts: found by their characters, joined, cut, and missing ones named."""

import os
import subprocess
import sys

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, features

from ppcls_light.base import fonts as module
from ppcls_light.base.fonts import Fonts
from ppcls_light.errors import UserError

SIZE = 20


def write_font(path, characters, width):
    """Write a font of these characters, each a black square as wide as high, `width` thousandths apart."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = [".notdef", *(f"glyph{index}" for index in range(len(characters)))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(
        {ord(character): glyphs[index] for index, character in enumerate(characters, 1)}
    )
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (width, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def found(monkeypatch):
    """The fonts of the system beside DejaVu Sans: a list to fill."""
    paths = []
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(path) for path in paths])
    return paths


def test_scripts_of_dejavu_are_readable_without_any_other_font(found):
    fonts = Fonts(SIZE, "the test")
    for text in ("hat", "Größe", "Ελληνικά", "Кошка", "قطة", "חתול", "კატა", "emoji 😀", "two words"):
        assert fonts.readable(text, "class 3") == text
        assert fonts.width(text) > SIZE
    assert list(fonts.problems()) == []


def test_characters_without_a_font_are_never_drawn_and_one_line_names_scripts_and_packages(found):
    fonts = Fonts(SIZE, "the test")
    assert fonts.readable("猫 cat", "class 3") == "class 3"
    assert fonts.readable("बिल्ली", "class 4") == "class 4"
    assert fonts.readable("고양이", "class 5") == "class 5"
    (line,) = fonts.problems()
    assert "CJK (猫)" in line
    assert "DEVANAGARI" in line
    assert "HANGUL" in line
    assert line.endswith("apt install fonts-noto-cjk fonts-noto-core")


def test_the_font_that_has_the_characters_is_found_whatever_the_order(found, tmp_path):
    for name, characters, width in (
        ("ABlank", "猫", 100),
        ("B-Bold", "猫犬", 600),
        ("C", "犬", 700),
        ("D", "猫a", 800),
    ):
        write_font(tmp_path / f"{name}.ttf", characters, width)
        found.append(tmp_path / f"{name}.ttf")
    (tmp_path / "A.ttf").write_bytes(b"no font")
    found.append(tmp_path / "A.ttf")
    fonts = Fonts(SIZE, "the test")
    assert fonts.readable("猫", "class 0") == "猫"
    assert fonts.width("猫") == pytest.approx(0.8 * SIZE, abs=0.5)  # the upright one
    assert fonts.width("猫a") == pytest.approx(1.6 * SIZE, abs=1)  # both of one font
    assert fonts.width("犬") == pytest.approx(0.7 * SIZE, abs=0.5)
    assert fonts.readable("猫犬x", "class 0") == "猫犬x"  # of three
    letter = fonts.width("x")
    assert fonts.width("猫犬x") == pytest.approx(1.5 * SIZE + letter, abs=1)
    sheet = Image.new("L", (100, 40), 0)
    fonts.draw(ImageDraw.Draw(sheet), 0, 30, "猫犬", 255)
    ink = [sheet.getpixel((x, 25)) > 128 for x in range(100)]
    assert ink == [x < 10 or 12 <= x < 22 for x in range(100)]  # the bold one has both
    assert list(fonts.problems()) == []


def test_a_text_that_is_too_long_ends_in_an_ellipsis_and_accents_stay_with_their_letters(found):
    fonts = Fonts(SIZE, "the test")
    assert fonts.cut("hat", 200) == "hat"
    text = "a very long name of a class"
    shown = fonts.cut(text, 120)
    assert shown.endswith("…")
    assert text.startswith(shown[:-1])
    assert fonts.width(shown) <= 120 < fonts.width(text[: len(shown) + 1] + "…")
    accents = "e\u0301" * 30
    for width in range(30, 90, 3):
        shown = fonts.cut(accents, width)[:-1]
        assert shown == "e\u0301" * (len(shown) // 2)
    assert fonts.cut("hat", 1) == "…"


def test_line_breaks_and_characters_that_turn_others_are_escapes(found):
    fonts = Fonts(SIZE, "the test")
    assert fonts.readable("a\nb\tc", "x") == "a b c"
    assert fonts.readable("\x1b[31m \u202egpj.exe \ud800", "x") == r"\x1b[31m \u202egpj.exe \ud800"


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no Raqm here")
def test_arabic_is_drawn_from_the_right(found):
    fonts = Fonts(SIZE, "the test")
    fonts.readable("א.ב", "x")

    def columns(text):
        sheet = Image.new("L", (60, 40), 0)
        fonts.draw(ImageDraw.Draw(sheet), 0, 30, text, 255)
        return sheet.getbbox(), sheet

    # Alef before bet in memory: the alef is on the right, as bet alone in its place shows.
    _, both = columns("אב")
    (left, _, right, _), _ = columns("ב")
    _, alone = columns("ב")
    assert both.crop((left, 0, right, 40)).tobytes() == alone.crop((left, 0, right, 40)).tobytes()
    assert list(fonts.problems()) == []


def test_without_raqm_one_line_says_what_is_misread_and_what_to_install(found, monkeypatch):
    monkeypatch.setattr(module, "_has_raqm", lambda: False)
    fonts = Fonts(SIZE, "the test")
    assert fonts.readable("Кошка", "x") == "Кошка"
    assert list(fonts.problems()) == []
    fonts.readable("قطة", "x")
    fonts.readable("חתול", "x")
    (line,) = fonts.problems()
    assert "قطة" in line
    assert line.endswith("apt install libfribidi0")


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r'^the test needs matplotlib; pip install "ppcls_light\[plot\]"$'):
        Fonts(SIZE, "the test")


def test_the_first_list_of_the_fonts_is_no_line_in_the_log(tmp_path):
    code = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(name)s')\n"
        "from ppcls_light.base.figures import new_figure; new_figure(1, 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.glob("fontlist*"))
