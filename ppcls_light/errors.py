"""Errors that are the user's to fix.

A message names the file, line or key and contains the fix, in one line. The tools print it without a
traceback and exit with code 2; anything else that escapes is a bug of this project.
"""


class UserError(Exception):
    """Something in the user's input is wrong; `str(error)` says what, where and how to fix it."""

    exit_code = 2


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


def listed(names, most=3):
    """Return `names` for a message: the first `most` of them, the rest counted."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
