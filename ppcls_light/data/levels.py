"""Folders of a data set by their names: the parts of a split, and whether sub-folders are classes."""

import os
import re
from collections import Counter

from ..errors import DataError, listed, warn_once

SPLITS = ("train", "val", "test")
_WORDS = {
    "train": ("train", "training", "trn", "trainval", "训练"),
    "val": (
        "val",
        "valid",
        "validate",
        "validation",
        "dev",
        "devel",
        "development",
        "eval",
        "evaluation",
        "验证",
    ),
    "test": ("test", "testing", "tst", "测试"),
}
_NOUNS = ("", "set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "split", "集")
_SPLIT_OF = {
    name: split
    for split, words in _WORDS.items()
    for word in words
    for noun in _NOUNS
    for name in (word + noun, noun + word)
}

_LONGEST = 100  # characters of a path in a message


def printable(path):
    """Return a path as one line of at most 100 characters: its end, and escapes for what has no picture."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in os.fspath(path))
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


def split_of(name):
    """Return which of `SPLITS` a folder's name means in any case and spelling ("Training Set", val_2017), or None."""
    return _SPLIT_OF.get(re.sub(r"[\W\d_]+", "", name.casefold()))


def split_folders(folder, names):
    """Return {split: name}, in the order of `SPLITS`, if `names` of sub-folders hold train and val or test, else {}.

    Raises:
        DataError: two of the names mean the same split.
    """
    parts = {}
    for name in sorted(names):
        parts.setdefault(split_of(name), []).append(name)
    parts.pop(None, None)
    if "train" not in parts or len(parts) < 2:
        return {}
    for split, alike in parts.items():
        if len(alike) > 1:
            raise DataError(
                f"{folder}: {alike[0]} and {alike[1]} both mean the split {split}; rename one of them or move it away"
            )
    return {split: parts[split][0] for split in SPLITS if split in parts}


def require_classes(folder, found):
    """Raise DataError if the sub-folders of `folder` look like the parts of a split, with the classes in each.

    Args:
        folder: the folder.
        found: {name of a sub-folder: paths of the images in it, relative to `folder`}.
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
    outer = _listed(list(found)) + (
        " is the class, write it" if len(found) == 1 else " are, write them, one a line,"
    )
    ways = (
        f"if those are the classes, use {os.path.join(folder, first)}; if {outer} into a file for "
        f"tools/make_list.py {folder} --labels FILE"
    )
    if split_of(first):
        raise DataError(
            f"{folder}: {first} is the name of a part of a split, and all its images are in sub-folders ({inner}): "
            f"{ways}"
        )
    if len(found) == 1:
        raise DataError(
            f"{folder}: all images are in sub-folders ({inner}) of its one folder {first}: {ways}"
        )
    shared = [
        name
        for name, times in Counter(name for names in below.values() for name in names).items()
        if times > 1
    ]
    if len(shared) < 2:
        return
    if all(names == below[first] for names in below.values()):
        raise DataError(f"{folder}: {_listed(list(found))} hold the same sub-folders ({inner}): {ways}")
    warn_once(f"{folder}: {_listed(list(found))} share sub-folders ({_listed(sorted(shared))}): {ways}")


def _listed(names):
    return listed(map(printable, names))
