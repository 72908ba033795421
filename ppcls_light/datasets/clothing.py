"""Clothes of ten classes, photographed by 32 people: a part in the package, and all of them."""

from __future__ import annotations

import hashlib
import os
import zipfile

from ..base.download import DownloadError
from .archive import PACKAGED, obtain, photos, write_photos

COMMIT = "11961516512414bf9f6c150a832cfd21b54a6b54"
URL = f"https://github.com/alexeygrigorev/clothing-dataset-small/archive/{COMMIT}.zip"
# of the photos in the order of their names: GitHub may pack the same photos into another zip file
SHA256_OF_PHOTOS = "66d712aad3cb10799ce005129056402b4be15be733731b0919b9c8d4b0e57078"
PART = os.path.join(PACKAGED, "clothing10.zip")

FULL = f"""\
clothing-dataset-small: 3,781 photos of clothes in 10 classes, collected by Alexey Grigorev and contributors.
https://github.com/alexeygrigorev/clothing-dataset-small, commit {COMMIT[:10]}
Licence: CC0 1.0 (public domain).
"""
CLOTHING = f"""\
A part of clothing-dataset-small: 28 training and 12 test photos of each of 10 classes, made smaller (128 pixels on
the short side) by tools/tutorials/pack_photos.py.
{FULL}"""


def write_part(folder: str) -> None:
    """Write the photos of the package, train/CLASS/NAME.jpg and test/CLASS/NAME.jpg."""
    write_photos(PART, folder)


def write_full(folder: str) -> None:
    """Write all photos, {train,validation,test}/CLASS/NAME.jpg."""
    write_photos(obtain(URL, f"clothing-dataset-small-{COMMIT[:10]}.zip", 106, check=_require_photos), folder)


def _require_photos(path: str) -> None:
    """Raise DownloadError unless the zip file `path` holds the photos of `COMMIT`."""
    digest = hashlib.sha256()
    try:
        for name, content in photos(path):
            digest.update(name.encode() + content)
    except zipfile.BadZipFile as problem:
        raise DownloadError(f"gives no zip file of photos: {problem}") from None
    if digest.hexdigest() != SHA256_OF_PHOTOS:
        raise DownloadError("gives other photos than those known")
