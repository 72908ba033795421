"""Text in any script on Pillow's pictures, by fonts that have its characters.

A font is asked for each character (its cmap table): Pillow draws a box for one that is missing and says nothing. The
first choice is DejaVu Sans, which matplotlib brings along under its free licence (Latin, Greek, Cyrillic, Arabic,
Hebrew, Armenian, Georgian, symbols); then come the system's fonts.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Iterator, NamedTuple

from ..errors import listed
from .figures import check_matplotlib

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# Parts of file names: fonts with fewer of them come first, and those with placeholders instead of characters never.
_STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "narrow", "mono", "serif")
_PLACEHOLDERS = ("lastresort", "blank", "notdef")
# Packages of Debian and Ubuntu with fonts, by the first word of a character's name in Unicode.
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC")
_PACKAGES = dict.fromkeys(_CJK, "fonts-noto-cjk")
# Characters that turn the direction of others, by which a name could show another one.
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


class _Font(NamedTuple):
    face: FreeTypeFont
    characters: frozenset[int]


class Fonts:
    """Fonts of `size` pixels to the em, opened as texts need them.

    Raises UserError: matplotlib, which `wanted_by` needs for its font and its search, is not installed.
    """

    def __init__(self, size: int, wanted_by: str) -> None:
        check_matplotlib(wanted_by)
        self._size = size
        self._paths = iter(_font_files())
        self._fonts: list[_Font] = []
        self._missing: set[str] = set()
        self._misread: list[str] = []

    def readable(self, text: str, otherwise: str) -> str:
        """Return `text` if there are fonts for all of it, else `otherwise`; `problems` then says what is missing."""
        text = _plain(text)
        missing = {
            character for character in text if _is_drawn(character) and self._having(character) is None
        }
        if _is_rightward(text) and not missing and self._having(text) is None:
            missing = {
                character for character in text if _is_rightward(character)
            }  # parts would change places
        self._missing |= missing
        if missing:
            return otherwise
        if _is_shaped(text) and not _has_raqm():
            self._misread.append(text)
        return text

    def problems(self) -> Iterator[str]:
        """Yield a line about characters without a font, and one about texts that Pillow draws otherwise than read."""
        if self._missing:
            scripts = {_script(character): character for character in sorted(self._missing, reverse=True)}
            packages = sorted({_PACKAGES.get(script, "fonts-noto-core") for script in scripts})
            shown = listed(f"{script} ({scripts[script]})" for script in sorted(scripts))
            yield (
                f"no font here has the characters of some names, which are left out (a class is shown by its number): "
                f"{shown}; install one, on Debian and Ubuntu: apt install {' '.join(packages)}"
            )
        if self._misread:
            yield (
                f"letters of some names stand in the wrong order or form, such as those of {self._misread[0]}: Pillow "
                "has no Raqm here, which needs FriBiDi; on Debian and Ubuntu: apt install libfribidi0"
            )

    def width(self, text: str) -> float:
        """Return the width of a text in pixels."""
        return sum(font.face.getlength(part) for font, part in self._runs(text))

    def cut(self, text: str, width: float) -> str:
        """Return `text`, or as much of its beginning as fits into `width` pixels with an ellipsis after it."""
        if self.width(text) <= width:
            return text
        low, high = 0, len(text)
        while low < high:  # the longest beginning that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(f"{text[:middle]}…") <= width else (low, middle - 1)
        while low and _is_mark(text[low]):  # an accent stays with its letter
            low -= 1
        return f"{text[:low].rstrip()}…"

    def draw(
        self, canvas: ImageDraw, x: float, baseline: float, text: str, fill: tuple[int, int, int]
    ) -> None:
        """Draw a text; `x` is its left end, in pixels, as `baseline`."""
        for font, part in self._runs(text):
            canvas.text((x, baseline), part, fill=fill, font=font.face, anchor="ls")
            x += font.face.getlength(part)

    def _runs(self, text: str) -> list[tuple[_Font, str]]:
        """Return the parts of a text, each with its font; one part where a font has every character."""
        whole = self._having(text)
        if whole is not None:
            return [(whole, text)]
        runs: list[tuple[_Font, str]] = []
        for character in text:
            font = self._having(character) or self._fonts[0]
            if runs and (not _is_drawn(character) or runs[-1][0] is font):
                runs[-1] = runs[-1][0], runs[-1][1] + character
            else:
                runs.append((font, character))
        return runs

    def _having(self, text: str) -> _Font | None:
        """Return the first font that has every character of `text`, None if none has."""
        needed = {ord(character) for character in text if _is_drawn(character)}
        for font in self._fonts:
            if needed <= font.characters:
                return font
        for path in self._paths:
            opened = _open(path, self._size)
            if opened is not None:
                self._fonts.append(opened)
                if needed <= opened.characters:
                    return opened
        return None


def _open(path: str, size: int) -> _Font | None:
    """Return a font, None for a file that Pillow and matplotlib cannot use, such as one of coloured bitmaps."""
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    try:
        return _Font(ImageFont.truetype(path, size), frozenset(FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return None


def _font_files() -> list[str]:
    """Return DejaVu Sans, and the system's fonts, upright ones without serifs first."""
    from matplotlib import font_manager, get_data_path

    def order(path: str) -> tuple[int, str]:
        name = os.path.basename(path).lower()
        return sum(style in name for style in _STYLES), name

    found = [
        path
        for path in font_manager.findSystemFonts()
        if not any(word in os.path.basename(path).lower() for word in _PLACEHOLDERS)
    ]
    return [os.path.join(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), *sorted(found, key=order)]


def _has_raqm() -> bool:
    from PIL import features

    return bool(features.check("raqm"))


def _plain(text: str) -> str:
    """Return `text` on one line: white space as spaces, and what is no character of a script as its escape."""

    def shown(character: str) -> str:
        if character.isspace():
            return " "
        odd = unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn")
        turns = unicodedata.bidirectional(character) in _TURNING
        return ascii(character)[1:-1] if odd or turns else character

    return "".join(map(shown, text))


def _is_drawn(character: str) -> bool:
    """Return whether a font needs a glyph for it: not for a space, a joiner or a variation selector."""
    if character == " " or unicodedata.category(character) == "Cf":
        return False
    return not (0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc", "Cf")


def _is_rightward(text: str) -> bool:
    """Return whether any of it is read from right to left."""
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _is_shaped(text: str) -> bool:
    """Return whether letters change their order or form beside others, as in Arabic, Hebrew, Devanagari and Thai."""
    return _is_rightward(text) or any(unicodedata.category(character) in ("Mn", "Mc") for character in text)


def _script(character: str) -> str:
    """Return the first word of a character's name in Unicode, such as CJK, DEVANAGARI or THAI."""
    return unicodedata.name(character, "unknown").split()[0].split("-")[0]
