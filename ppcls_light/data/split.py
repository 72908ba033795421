"""List files for a folder of photos: one folder a class -> train, val and test lists and the label map."""

import os

import numpy as np

from ..errors import ConfigError, DataError
from ..files import write_text
from .image_list import ImageList, scan_image_folder

SPLITS = ("train", "val", "test")
LABEL_FILE = "labels.txt"

_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


def write_image_lists(folder, split=None, seed=0, out=None):
    """Write train_list.txt, val_list.txt, test_list.txt and labels.txt for `folder`.

    The paths in the lists are relative to `folder`, which is the `image_root` of a config.

    Args:
        folder: holds one folder a class; or train/ and val/ (validation/), test/ that do.
        split: shares of train, val and test as "0.8/0.1/0.1" (or "0.8/0.2" without a test list); None for
            a folder that is already split.
        seed: of the random choice; the same folder, split and seed give the same lists.
        out: folder for the files; default `folder`.

    Returns:
        (class names, {path of a list file: number of images}, path of the label file).

    Raises:
        ConfigError: `split` is malformed, missing, or given for a folder that is already split.
        DataError: no images, or a class without training images, or a list would be empty.
    """
    if seed < 0:
        raise ConfigError(f"--seed {seed} is below 0; for example --seed 0")
    parts = _split_folders(folder)
    if parts and split is not None:
        raise ConfigError(f"{folder} is already split into {', '.join(parts.values())}; leave --split out")
    if not parts and split is None:
        raise ConfigError(f"{folder} is not split into train and val folders; add --split 0.8/0.1/0.1")
    if parts:
        class_names, lists = _read_split(folder, parts)
    else:
        shares = parse_split(split)
        images, class_names = scan_image_folder(folder)
        lists = dict(zip(SPLITS, split_by_class(images, shares, seed)))
    empty = [name for name, images in lists.items() if not len(images)]
    if empty:
        raise DataError(
            f"--split {split} leaves no image for {' and '.join(empty)}; give that a larger share, leave it out, "
            "or add photos"
        )
    out = folder if out is None else out
    counts = {}
    for name, images in lists.items():
        path = os.path.join(out, f"{name}_list.txt")
        _write_lines(path, (f"{images.name(i)} {images.label(i)}" for i in range(len(images))))
        counts[path] = len(images)
    label_file = os.path.join(out, LABEL_FILE)
    _write_lines(label_file, (f"{label} {name}" for label, name in enumerate(class_names)))
    return class_names, counts, label_file


def parse_split(text):
    """Return the shares in "0.8/0.1/0.1" as floats. Raises ConfigError."""
    try:
        shares = [float(share) for share in text.split("/")]
    except ValueError:
        shares = []
    if not 1 <= len(shares) <= len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(
            f"--split '{text}' is not up to three shares above 0 that add up to 1; for example 0.8/0.1/0.1"
        )
    return shares


def split_by_class(images, shares, seed):
    """Divide an ImageList at random, each class by the same `shares`.

    Every class keeps at least one image in the first part; the others are rounded to whole images.

    Returns:
        list of ImageList, one for each of `shares`, in the order of `images`.
    """
    chosen = [[] for _ in shares]
    bounds = np.cumsum(shares)
    for label in np.unique(images.labels):
        members = np.flatnonzero(images.labels == label)
        np.random.default_rng([seed, label]).shuffle(members)
        ends = np.maximum(1, np.floor(bounds * len(members) + 0.5)).astype(int)
        for part, piece in zip(chosen, np.split(members, ends[:-1])):
            part.append(piece)
    return [_take(images, np.sort(np.concatenate(part))) for part in chosen]


def _split_folders(folder):
    """Return {split: folder name} when `folder` is divided into train and val or test, else {}."""
    parts = {}
    for name, spellings in _FOLDERS.items():
        for spelling in spellings:
            if name not in parts and os.path.isdir(os.path.join(folder, spelling)):
                parts[name] = spelling
    return parts if "train" in parts and len(parts) > 1 else {}


def _read_split(folder, parts):
    class_names, lists = None, {}
    for name, part in parts.items():
        images, class_names = scan_image_folder(os.path.join(folder, part), class_names)
        names = (f"{part}/{images.name(i)}".encode() for i in range(len(images)))
        lists[name] = ImageList(folder, names, images.labels)
    return class_names, lists


def _take(images, indices):
    return ImageList(images.root, (images.name(i).encode() for i in indices), images.labels[indices])


def _write_lines(path, lines):
    lines = list(lines)
    broken = next((line for line in lines if "\n" in line or "\r" in line), None)
    if broken is not None:
        raise DataError(f"a list cannot hold the file name {broken!r}: rename the file without a line break")
    write_text(path, "".join(f"{line}\n" for line in lines), DataError)
