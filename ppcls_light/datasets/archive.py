"""Archives of data sets: those of the package, and those that are downloaded once and kept."""

from __future__ import annotations

import os
import posixpath
import zipfile
import zlib
from typing import Callable, Iterator

from ..base import kept
from ..base.cache import cache_folder
from ..errors import DataError

_MOST = 50_000_000  # bytes of a photo; more would be there to fill the memory
PACKAGED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")


def home() -> str:
    """Return the folder of data sets: datasets in PPCLS_LIGHT_HOME, or in the cache of this user."""
    return cache_folder("datasets")


def obtain(
    url: str, file: str, size_mb: int, sha256: str = "", check: Callable[[str], None] = lambda path: None
) -> str:
    """Return the path of an archive, fetched from `url` where it is missing and kept as `file` in `home`.

    `sha256` and `check` are those of `kept.obtain`. Raises DataError: no such file.
    """
    return kept.obtain(url, os.path.join(home(), file), size_mb, sha256, check, DataError)


def photos(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield (split/class/name.jpg, bytes) of the photos in a zip file, in the order of their names.

    Raises zipfile.BadZipFile: it is damaged, encrypted, or has a file that is too large for a photo.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            named = {"/".join(each.filename.split("/")[-3:]): each for each in archive.infolist()}
            for name in sorted(name for name in named if name.endswith(".jpg")):
                if named[name].file_size > _MOST:
                    raise zipfile.BadZipFile(f"{name} has {named[name].file_size:,} bytes")
                yield name, archive.read(named[name])
    except (EOFError, RuntimeError, zlib.error) as problem:
        raise zipfile.BadZipFile(str(problem)) from None


def write_photos(path: str, folder: str) -> None:
    """Write the photos of a zip file to `folder`/split/class/name.jpg."""
    for name, content in photos(path):
        write_image(folder, name, content)


def write_image(folder: str, name: str, content: bytes) -> None:
    """Write an image file to `folder`; `name` has slashes and stays within it."""
    if posixpath.normpath(name) != name or name.startswith(("/", "..")) or "\\" in name or ":" in name:
        raise DataError(f"{name} is no name of an image in a data set")
    target = os.path.join(folder, *name.split("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(content)
