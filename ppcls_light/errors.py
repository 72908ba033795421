"""Errors that are the user's to fix, and warnings that are given once.

A message names the file, line or key and contains the fix, in one line. The tools print it without a
traceback and exit with code 2; anything else that escapes is a bug of this project.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Iterable

_LOGGER = logging.getLogger(__name__)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UserError(Exception):
    """Error in the user's input; `str(error)` names the problem, its place and the fix.

    `message` is one line, and each of `details` a further, indented one. Line breaks and other control characters, as
    names in a damaged file have them, become escapes: they can neither forge a second line nor steer a terminal.
    """

    exit_code = 2

    def __init__(self, message: object = "", *details: object) -> None:
        super().__init__(*(_CONTROL.sub(_escape, str(line)) for line in (message, *details)))

    def __str__(self) -> str:
        return "\n  ".join(self.args)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of the error in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class ConfigError(UserError):
    """A YAML file, an override or an argument is wrong."""


class DataError(UserError):
    """A list file, a label or an image is wrong."""


class WeightsError(UserError):
    """A weights file or a checkpoint is missing, damaged or does not fit the network."""


class ExportError(UserError):
    """A model cannot be exported, or the exported model does not equal the original."""


class DeviceError(UserError):
    """The requested device or engine is not in the installed build."""


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return `names` for a message: the first `most` of them, the rest counted."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@functools.lru_cache(maxsize=1000)
def warn_once(line: str) -> None:
    """Log `line` as a warning, once in a process however often there is a reason."""
    _LOGGER.warning("%s", line)
