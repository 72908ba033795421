"""Recognition of train, val and test folders by name, to tell them from class folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Iterable

from ..base.files import StrPath
from ..base.hints import command
from ..errors import DataError, listed, warn_once

SPLITS = ("train", "val", "test")
_WORDS = {
    "train": "train training trn trainval 训练",
    "val": "val valid validate validation dev devel development eval evaluation 验证",
    "test": "test testing tst 测试",
}
_NOUNS = "set data dataset image images img imgs photos pictures split 集"
_SPLIT_OF = {
    name: split
    for split, words in _WORDS.items()
    for word in words.split()
    for noun in ("", *_NOUNS.split())
    for name in (word + noun, noun + word)
}
_LONGEST = 100  # characters of a path in a message


def printable(path: StrPath) -> str:
    """Return a path as one line of at most 100 characters: its end, and escapes for what has no picture."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in os.fspath(path))
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


def split_of(name: str) -> str | None:
    """Return the one of `SPLITS` that a folder's name means in any case and spelling ("Training Set", val_2017)."""
    return _SPLIT_OF.get(re.sub(r"[\W\d_]+", "", name.casefold()))


def split_folders(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Return {split: name}, in the order of `SPLITS`, if `names` of sub-folders hold train and val or test, else {}.

    Raises DataError: two of the names mean the same split.
    """
    names = sorted(names)
    parts = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    found = {split: alike for split, alike in parts.items() if alike}
    if "train" not in found or len(found) < 2:
        return {}
    for split, alike in found.items():
        if len(alike) > 1:
            raise DataError(
                f"{folder}: {alike[0]} and {alike[1]} both mean the split {split}; rename one of them or move it away"
            )
    return {split: alike[0] for split, alike in found.items()}


def require_classes(folder: str, found: dict[str, list[str]]) -> None:
    """Raise DataError if the sub-folders of `folder` look like the parts of a split, with the classes in each.

    `found` is {name of a sub-folder: paths of the images in it, relative to `folder`}.
    """
    parts = split_folders(folder, found)
    if parts:
        train, other = list(parts.values())[:2]
        raise DataError(
            f"{folder}: {train} and {other} are the parts of a split, not classes: the folder is one level too high; "
            f"use {os.path.join(folder, train)}"
        )
    below = {
        name: {image.split(os.sep)[1] for image in images if image.count(os.sep) > 1}
        for name, images in found.items()
    }
    without = [name for name, images in found.items() if all(image.count(os.sep) > 1 for image in images)]
    if not without:
        return
    first = min(without, key=lambda name: (split_of(name) is None, name))
    inner = _listed(sorted(below[first]))
    outer = "is the class, write it" if len(found) == 1 else "are, write them, one per line,"
    ways = (
        f"if those are the classes, use {os.path.join(folder, first)}; if {_listed(found)} {outer} into a file for "
        f"{command('lists')} {folder} --labels FILE"
    )
    times = Counter(name for names in below.values() for name in names)
    shared = sorted(name for name, count in times.items() if count > 1)
    if split_of(first):
        found_as = (
            f"{first} is the name of a part of a split, and all its images are in sub-folders ({inner})"
        )
    elif len(found) == 1:
        found_as = f"all images are in sub-folders ({inner}) of its one folder {first}"
    elif len(shared) < 2:
        return
    elif all(names == below[first] for names in below.values()):
        found_as = f"{_listed(found)} hold the same sub-folders ({inner})"
    else:
        warn_once(f"{folder}: {_listed(found)} share sub-folders ({_listed(shared)}): {ways}")
        return
    raise DataError(f"{folder}: {found_as}: {ways}")


def _listed(names: Iterable[str]) -> str:
    return listed(map(printable, names))
