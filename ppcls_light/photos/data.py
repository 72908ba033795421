"""Photos of a folder: their division into those to learn, to choose the epoch and to score, and their check."""

from __future__ import annotations

import os
from collections import Counter
from typing import Callable, Sequence

import numpy as np

from ..check.job import check_data, line_of, noted
from ..check.kinds import Finding, Limits, by_kind
from ..check.lists import DROPPED_FILE, dropped_images, write_cleaned
from ..check.page import PAGE
from ..check.splits import Split, Splits, splits_of_folder
from ..data.classes import ClassNames
from ..data.folder_names import SPLITS, printable
from ..data.image_list import ImageList
from ..data.scan import LABEL_FILE
from ..data.split import divide_by_class, parse_split
from ..errors import ConfigError, DataError
from .recipe import Lists

_CHOOSING = 5  # photos of a class, from which one of them chooses the epoch
_LEFT_OUT = ("missing", "damaged", "leak")  # kinds of findings whose photos are in no list
_PURPOSES = {"train": "to learn", "val": "to choose the best epoch", "test": "held out to score"}


def shares_of(split: str) -> list[float]:
    """Return the shares of train, val and test in "0.8/0.1/0.1". Raises ConfigError: these are not three shares."""
    shares = parse_split(split) if isinstance(split, str) else []
    if len(shares) != len(SPLITS):
        raise ConfigError(
            f"--split {split}: three shares are needed, to learn, to choose the epoch and to score; for example "
            "0.8/0.1/0.1"
        )
    return shares


def require_folder(folder: str) -> None:
    """Raise DataError unless there is such a folder."""
    if not os.path.isdir(folder):
        is_file = os.path.exists(folder)
        lists = ", or a config (-c) that names such a list" if is_file else ""
        raise DataError(
            f"{folder or repr(folder)} {'is a file' if is_file else 'is not there'}; give a folder with one folder of "
            f"photos per class{lists}"
        )


def read_photos(folder: str, shares: Sequence[float], seed: int) -> Splits:
    """Return the photos of `folder` as splits train, val and test; small classes may leave no val.

    Photos that are in class folders alone are divided by `shares`, at random. Where there are folders (or lists) train
    and one of val and test, that one is held out, and a part of train chooses the epoch. All three stay as they are.

    Raises DataError: there is no such folder, or no class folders in it; one class; no photo is left to score.
    """
    require_folder(folder)
    found = splits_of_folder(folder)
    parts = [part.images for part in found.parts]
    names = ClassNames(tuple(found.class_names), folder)
    if len(parts) == 1:
        parts = _divided(parts[0], shares, seed)
    elif len(parts) == 2:
        train, chosen, _ = shares
        parts = [*_divided(parts[0], (train / (train + chosen), chosen / (train + chosen)), seed), parts[1]]
    # Of the folder itself, whatever list they came from: labels.txt is then written with the lists.
    whole = [
        ImageList(folder, (part.name(i).encode() for i in range(len(part))), part.labels) for part in parts
    ]
    splits = Splits([Split(name, part) for name, part in zip(SPLITS, whole) if len(part)], names)
    _require_two_classes(splits.parts[0].images.labels, names, folder)
    if splits.parts[-1].name != "test":
        raise DataError(
            f"{folder}: no class has 2 photos, one to learn and one to score; add photos, 20 or more per class"
        )
    return splits


def _divided(images: ImageList, shares: Sequence[float], seed: int) -> list[ImageList]:
    def sizes(count: int) -> list[int]:
        return sizes_of(count, shares)

    return divide_by_class(images, sizes, seed)


def sizes_of(count: int, shares: Sequence[float]) -> list[int]:
    """Return how many of the `count` photos of a class learn, choose the epoch and, by a third share, score.

    One learns at least, one of two or more scores, and one of five or more chooses.
    """
    held = [min(max(1, round(count * share)), count - 1) for share in shares[2:]]
    left = count - sum(held)
    chosen = min(max(1, round(count * shares[1])), left - 1) if count >= _CHOOSING else 0
    return [left - chosen, chosen, *held]


def _require_two_classes(labels: np.ndarray, names: ClassNames, folder: str) -> None:
    """Raise DataError where the `labels` to learn are not those of two classes."""
    learned = sorted(set(labels.tolist()))
    if len(learned) < 2:
        shown = printable(names[learned[0]]) if learned else "none"
        raise DataError(
            f"{folder}: one class only ({shown}) has photos to learn; a network that tells classes apart needs two, a "
            "folder each"
        )


def checked_lists(splits: Splits, folder: str, out: str, say: Callable[[str], object]) -> Lists:
    """Check the photos of `splits` from `folder`, and write the report to `out`/check and the lists to `out`/lists.

    Files that cannot be read and photos that are in two splits, to the byte or the pixel, are in no list; all else is
    only told, in lines.

    Raises DataError: of a split, or of all classes but one, no photo is left.
    """
    found, _ = check_data(splits, os.path.join(out, "check"), Limits(), f"Data of {folder}")
    told = [line_of(splits, items) for kind, items in by_kind(found).items() if kind not in _LEFT_OUT]
    say(f"{len(splits):,} photos in {len(splits.class_names):,} classes")
    for line in (*noted(splits, found), *told):
        say(f"  {line}")
    if told:
        say(f"  pictures of all that was found: {os.path.join(out, 'check', PAGE)}")
    dropped = dropped_images(found, _LEFT_OUT)
    lists = os.path.join(out, "lists")
    if dropped:
        say(f"  left out: {_counted(dropped)}; {os.path.join(lists, DROPPED_FILE)} has the reasons")
    reasons = {
        each.image: f"{printable(splits.name(each.image))}: {each.detail}"
        for each in found
        if each.kind == "damaged"
    }
    if reasons:
        say(f"    the first that cannot be read: {reasons[min(reasons)]}")
    kept = [
        [index for index in splits.members(place) if index not in dropped]
        for place in range(len(splits.parts))
    ]
    for place, (part, indices) in enumerate(zip(splits.parts, kept)):
        if not indices:
            reason = next((reasons[index] for index in splits.members(place) if index in reasons), "")
            raise DataError(
                f"{folder}: none of the {len(part.images)} photos {_PURPOSES[part.name]} is left"
                f"{f' ({reason})' if reason else ''}; see {os.path.join(out, 'check', PAGE)}"
            )
    names = ClassNames(tuple(splits.class_names), folder)
    _require_two_classes(splits.labels[kept[0]], names, folder)
    write_cleaned(lists, splits, dropped)
    say(", ".join(f"{len(indices):,} {_PURPOSES[part.name]}" for part, indices in zip(splits.parts, kept)))
    files = {part.name: os.path.join(lists, f"{part.name}_list.txt") for part in splits.parts}
    chooses = "val" in files
    return Lists(
        folder,
        files["train"],
        files["val" if chooses else "test"],
        chooses,
        os.path.join(lists, LABEL_FILE),
        len(names),
        len(kept[0]),
    )


def _counted(dropped: dict[int, list[Finding]]) -> str:
    counts = Counter(findings[0].kind for findings in dropped.values())
    words = {
        "missing": ("photo that is not there", "photos that are not there"),
        "damaged": ("photo that cannot be read", "photos that cannot be read"),
        "leak": ("photo that is also in another part", "photos that are also in another part"),
    }
    return ", ".join(f"{counts[kind]:,} {words[kind][counts[kind] > 1]}" for kind in words if counts[kind])
