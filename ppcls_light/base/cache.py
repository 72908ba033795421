"""Folder of files that can be fetched again, and the user's word that nothing is to be fetched."""

from __future__ import annotations

import os

HOME_VARIABLE, OFFLINE_VARIABLE = "PPCLS_LIGHT_HOME", "PPCLS_LIGHT_OFFLINE"


def cache_folder(kind: str) -> str:
    """Return the folder of a kind of files: in PPCLS_LIGHT_HOME, or in ~/.cache/ppcls_light (XDG_CACHE_HOME)."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    own = os.environ.get(HOME_VARIABLE) or os.path.join(cache, "ppcls_light")
    return os.path.abspath(os.path.expanduser(os.path.join(own, kind)))


def is_offline() -> bool:
    """Return whether PPCLS_LIGHT_OFFLINE forbids downloads."""
    return is_set(OFFLINE_VARIABLE)


def is_set(variable: str) -> bool:
    """Return whether a variable of the environment says yes."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off")
