"""Writing of train, val and test lists and the label map for a folder with one sub-folder per class."""

from __future__ import annotations

import json
import os
from typing import Callable, Iterable, Sequence

import numpy as np

from ..base.files import StrPath, results, write_text
from ..errors import ConfigError, DataError, listed, warn_once
from .classes import ClassNames, read_class_names
from .folder_names import SPLITS, split_folders
from .image_list import ImageList
from .scan import LABEL_FILE, LeftOut, entries, scan_image_folder, utf8


def write_image_lists(
    folder: StrPath,
    split: str | None = None,
    seed: int = 0,
    out: StrPath | None = None,
    label_map: StrPath | None = None,
) -> tuple[ClassNames, dict[str, int], str]:
    """Write train_list.txt, val_list.txt, test_list.txt and labels.txt for `folder`; one warning names the rest.

    The paths in the lists are relative to `folder`, which is the `image_root` of a config. Returned are the classes,
    {path of a list file: number of images}, and the path of the label file.

    Args:
        folder: holds one folder per class; or folders named after the parts of a split (train, val, test in any
            case and spelling, see `folder_names.split_of`) that do.
        split: shares of train, val and test as "0.8/0.1/0.1" (or "0.8/0.2" without a test list); None for
            a folder that is already split.
        seed: of the random choice; the same folder, split and seed give the same lists.
        out: folder for the files; default `folder`.
        label_map: file with the names of the classes, which fixes their labels (`read_class_names`); None: the
            folders in the order of their names.

    Raises:
        ConfigError: `split` is malformed, missing, or given for a folder that is already split.
        DataError: no images, or a class without training images, or a list would be empty; a class folder that
            `label_map` does not name; or a label file is there whose labels mean other classes.
    """
    if seed < 0:
        raise ConfigError(f"--seed {seed} is below 0; for example --seed 0")
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; expected a folder that holds one folder per class")
    left_out = LeftOut(folder)
    given = None if label_map is None else read_class_names(label_map)
    names = {os.path.basename(path) for path, is_folder in entries(folder, LeftOut(folder)) if is_folder}
    # Folders that the map names are classes, whatever they are called.
    parts = {} if given and all(name in given for name in names) else split_folders(folder, names)
    if parts:
        if split is not None:
            raise ConfigError(
                f"{folder} is already split into {', '.join(parts.values())}; leave --split out"
            )
        class_names, lists = read_split(folder, parts, given, left_out)
    else:
        images, class_names = scan_image_folder(folder, given, left_out)
        if split is None:
            raise ConfigError(f"{folder} is not split into train and val folders; add --split 0.8/0.1/0.1")
        lists = dict(zip(SPLITS, split_by_class(images, parse_split(split), seed)))
    empty = [name for name, images in lists.items() if not len(images)]
    if empty:
        raise DataError(
            f"--split {split} leaves no image for {' and '.join(empty)}; give that a larger share, leave it out, "
            "or add photos"
        )
    out = folder if out is None else os.fspath(out)
    label_file = os.path.join(out, LABEL_FILE)
    _require_kept_labels(label_file, class_names)
    counts = {}
    try:
        with results(out, DataError) as scratch:
            for name, images in lists.items():
                file = f"{name}_list.txt"
                lines = (f"{images.name(i)} {images.label(i)}" for i in range(len(images)))
                write_lines(os.path.join(scratch, file), lines)
                counts[os.path.join(out, file)] = len(images)
            write_labels(os.path.join(scratch, LABEL_FILE), class_names)
    except DataError as error:
        raise DataError(f"{error}; the lists go elsewhere by --out") from None
    left_out.warn()
    _warn_of_missing(class_names, lists["train"], folder)
    _warn_of_unscored(class_names, lists, out)
    return class_names, counts, label_file


def parse_split(text: str) -> list[float]:
    """Return the shares in "0.8/0.1/0.1" as floats. Raises ConfigError."""
    try:
        shares = [float(share) for share in text.split("/")]
    except ValueError:
        shares = []
    if not 1 <= len(shares) <= len(SPLITS) or not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-6):
        raise ConfigError(
            f"--split '{text}' is not up to three shares above 0 that add up to 1; for example 0.8/0.1/0.1"
        )
    return shares


def split_by_class(images: ImageList, shares: list[float], seed: int) -> list[ImageList]:
    """Divide images at random, each class by the same `shares`; each part keeps their order.

    Every class keeps at least one image in the first part; the others are rounded to whole images.
    """
    bounds = np.cumsum(shares)

    def sizes(count: int) -> np.ndarray:
        return np.diff(np.maximum(1, np.floor(bounds * count + 0.5)).astype(int), prepend=0)

    return divide_by_class(images, sizes, seed)


def divide_by_class(
    images: ImageList, sizes: Callable[[int], Sequence[int] | np.ndarray], seed: int
) -> list[ImageList]:
    """Divide images at random into the parts of each class whose `sizes` a function of its images tells."""
    divided = []
    for label in np.unique(images.labels):
        members = np.flatnonzero(images.labels == label)
        np.random.default_rng([seed, label]).shuffle(members)
        divided.append(np.split(members, np.cumsum(sizes(len(members)))[:-1]))
    parts = [np.sort(np.concatenate(pieces)) for pieces in zip(*divided)]
    return [
        ImageList(images.root, (images.name(i).encode() for i in part), images.labels[part]) for part in parts
    ]


def read_split(
    folder: str, parts: dict[str, str], class_names: ClassNames | None, left_out: LeftOut
) -> tuple[ClassNames, dict[str, ImageList]]:
    """Return the classes and {split: images} of the `parts`, {split: name}, of a folder that is already split.

    `parts` are those of `folder_names.split_folders`. Without `class_names` the classes are those of the training.
    Raises DataError: see `scan_image_folder`.
    """
    for path, is_folder in entries(folder, left_out):
        if not is_folder:
            left_out.add("loose", path)
        elif os.path.basename(path) not in parts.values():
            left_out.add("beside", path)
    lists = {}
    for name, part in parts.items():
        path = os.path.join(folder, part)
        classes = any(is_folder for _, is_folder in entries(path, LeftOut(path)))
        if (
            not classes and name != "train" and len(parts) > 2
        ):  # images to classify, as competitions give them
            left_out.add("unlabelled", path)
            continue
        images, class_names = scan_image_folder(path, class_names, left_out)
        names = (utf8(f"{part}/{images.name(i)}") for i in range(len(images)))
        lists[name] = ImageList(folder, names, images.labels)
    assert class_names is not None  # a split has a part "train"
    return class_names, lists


def _warn_of_missing(class_names: ClassNames, images: ImageList, folder: str) -> None:
    seen = set(images.labels.tolist())
    missing = [name for label, name in enumerate(class_names) if label not in seen]
    if missing:
        warn_once(
            f"{len(missing)} of the {len(class_names)} classes that {class_names.source} names have no training image "
            f"in {folder}: {listed(missing)}"
        )
    if len(class_names) == 1:
        warn_once(
            f"{folder} has one class only, {class_names[0]}: a network that tells classes apart needs two"
        )


def _warn_of_unscored(class_names: ClassNames, lists: dict[str, ImageList], out: str) -> None:
    """Log the classes that are learned and have no image in another list of the folder `out`."""
    learned = set(lists["train"].labels.tolist())
    for split, images in lists.items():
        missing = sorted(learned.difference(images.labels.tolist()))
        if missing:
            names = listed(class_names[label] for label in missing)
            warn_once(
                f"{os.path.join(out, split)}_list.txt has no image of {names}, and its score says nothing of that; add "
                "photos, or give it a larger share"
            )


def _require_kept_labels(path: str, class_names: ClassNames) -> None:
    """Raise DataError if the label file that is there gives a label to another class than `class_names` do."""
    if not os.path.exists(path):
        return
    try:
        before = read_class_names(path)
    except DataError:
        raise DataError(
            f"{path} is there and is no label map; rename it, or write elsewhere by --out"
        ) from None
    if before.names != class_names.names[: len(before)]:
        before.require_same(
            class_names,
            f"keep the labels by --labels MAP with the new names at its end, number anew by deleting {path}, or "
            "write elsewhere by --out",
        )


def write_labels(path: str, class_names: ClassNames) -> None:
    """Write a label map, one `label name` per line; as JSON where such lines would be read as other names."""
    write_lines(path, (f"{label} {name}" for label, name in enumerate(class_names)))
    try:
        same = read_class_names(path).names == class_names.names
    except DataError:
        same = False
    if not same:
        write_text(path, json.dumps(list(class_names), ensure_ascii=False, indent=0) + "\n", DataError)


def write_lines(path: str, lines: Iterable[str]) -> None:
    """Write the `lines` of a list file. Raises DataError: a file name that a list cannot hold."""
    lines = list(lines)
    broken = next((line for line in lines if "\n" in line or "\r" in line or line != line.lstrip()), None)
    if broken is not None:
        raise DataError(
            f"a list cannot hold the file name {broken!r}: rename it without line breaks and a space at its beginning"
        )
    write_text(path, "".join(f"{line}\n" for line in lines), DataError)
