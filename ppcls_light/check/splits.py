"""Splits of a data set, as one sequence of images, from a folder: lists in it, or class folders."""

from __future__ import annotations

import os
from typing import NamedTuple, Sequence

import numpy as np

from ..data.cifar import CifarImages
from ..data.classes import ClassNames, folder_labels, read_class_names
from ..data.folder_names import SPLITS, split_folders, split_of
from ..data.image_list import ImageList, read_image_list
from ..data.scan import LABEL_FILE, LeftOut, entries, scan_image_folder
from ..data.split import read_split
from ..errors import DataError
from .facts import Source

_MOST_CLASSES = 1_000_000


class Split(NamedTuple):
    """Part of a data set."""

    name: str
    images: ImageList  # or CifarImages
    section: str | None = None  # of a config that reads them
    delimiter: str | None = None  # of its list's columns, None: blanks


class Splits:
    """N images of one or several splits, in their order; a later split is one that scores what an earlier one learned.

    Images with tags have a class for each combination that occurs.

    Attributes:
        parts: list of `Split`.
        split: int64 (N,), places in `parts`.
        labels: int64 (N,), -1 without a label.
        class_names: in the order of the labels; a label stands for itself where nothing names it.
        unnamed: int64, labels of images that are beyond the names of the others, rising.

    Raises DataError: a label is too great to be one.
    """

    def __init__(self, parts: Sequence[Split], names: ClassNames | None) -> None:
        self.parts = list(parts)
        sizes = [len(part.images) for part in parts]
        self._starts = np.cumsum([0, *sizes])
        self.split = np.repeat(np.arange(len(parts)), sizes)
        self.labels = np.concatenate([part.images.labels for part in parts])
        if self.labels.ndim > 1:
            self.labels, names = _combinations(self.labels, names)
        self._require_classes()
        self.class_names = _all_named(names, self.parts, int(self.labels.max(initial=-1)) + 1)
        beyond = self.labels >= (len(self.class_names) if names is None else len(names))
        self.unnamed = np.unique(self.labels[beyond])

    def __len__(self) -> int:
        return len(self.labels)

    def _require_classes(self) -> None:
        """Raise DataError for a label beyond `_MOST_CLASSES`: the tables of so many classes fill the memory."""
        if self.labels.max(initial=-1) >= _MOST_CLASSES:
            index = int(self.labels.argmax())
            source = self.parts[self.split[index]].images.source
            raise DataError(
                f"{source}: {self.name(index)} has label {self.labels[index]}; correct it to one below "
                f"{_MOST_CLASSES:,}"
            )

    def members(self, part: int) -> range:
        """Return the places of a part's images."""
        return range(self._starts[part], self._starts[part + 1])

    def _own(self, index: int) -> tuple[ImageList, int]:
        part = self.split[index]
        return self.parts[part].images, index - int(self._starts[part])

    def path(self, index: int) -> str:
        """Return the path of an image's file, or its place, for people."""
        images, own = self._own(index)
        return images.path(own)

    def name(self, index: int) -> str:
        """Return the path of an image as its list has it."""
        images, own = self._own(index)
        return images.name(own)

    def source(self, index: int) -> Source:
        """Return the path of an image's file, or its content where it has no file of its own."""
        images, own = self._own(index)
        return images.content(own) if isinstance(images, CifarImages) else images.path(own)

    def split_name(self, index: int) -> str:
        return self.parts[self.split[index]].name

    def class_name(self, index: int) -> str:
        """Return the name of an image's class, "" without a label."""
        label = int(self.labels[index])
        return self.class_names[label] if label >= 0 else ""

    def counts(self) -> np.ndarray:
        """Return int64 (classes, parts): labelled images."""
        counts = np.zeros((len(self.class_names), len(self.parts)), np.int64)
        known = self.labels >= 0
        np.add.at(counts, (self.labels[known], self.split[known]), 1)
        return counts


def _combinations(tags: np.ndarray, names: ClassNames | None) -> tuple[np.ndarray, ClassNames]:
    """Return a label int64 (N,) for each row of tags int8 (N, K), and the names of the rows that differ."""
    rows, labels = np.unique(tags, axis=0, return_inverse=True)
    each = list(map(str, range(tags.shape[1]))) if names is None else list(names)
    told = [
        [name + ("" if value > 0 else " (not known)") for name, value in zip(each, row) if value]
        for row in rows
    ]
    combined = tuple(", ".join(tags) or "no tag" for tags in told)
    return labels.reshape(-1), ClassNames(combined, "tags" if names is None else names.source)


def _all_named(names: ClassNames | None, parts: Sequence[Split], labels: int) -> list[str]:
    """Return a name for each of the `labels`: of `names`, of the folders in the first list, or the label itself."""
    if names is not None:
        return [*names, *map(str, range(len(names), labels))]
    folders = {label: folder for folder, label in folder_labels(parts[0].images).items()}
    return [folders.get(label, str(label)) for label in range(labels)]


def splits_of_folder(folder: str) -> Splits:
    """Return the images of the lists in `folder` (train_list.txt or train.txt, and so on), or of its class folders.

    Paths in a list begin in `folder`; labels.txt names its labels. Without a list the class folders are read, or
    those in train, val and test folders.

    Raises DataError: there is neither; a list is wrong, or all its images are elsewhere; see `scan_image_folder`.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; give one with class folders or lists, or a config by -c")
    lists = _lists(folder)
    if lists:
        return _of_lists(folder, lists)
    left_out = LeftOut(folder)
    found = [os.path.basename(path) for path, is_folder in entries(folder, LeftOut(folder)) if is_folder]
    parts = split_folders(folder, found)
    if parts:
        names, images = read_split(folder, parts, None, left_out)
        splits = [Split(name, part) for name, part in images.items()]
    else:
        whole, names = scan_image_folder(folder, None, left_out)
        splits = [Split("all", whole)]
    left_out.warn()
    return Splits(splits, names)


def _lists(folder: str) -> dict[str, str]:
    """Return {split: path} of the lists in `folder`, in the order of `SPLITS`."""
    found: dict[str, str] = {}
    for split in SPLITS:
        for name in sorted(os.listdir(folder)):
            stem, suffix = os.path.splitext(name)
            if suffix == ".txt" and split_of(stem.removesuffix("_list")) == split:
                if split in found:
                    raise DataError(
                        f"{folder}: {os.path.basename(found[split])} and {name} are both lists of {split}; move one "
                        "away, or give a config by -c"
                    )
                found[split] = os.path.join(folder, name)
    return found


def _of_lists(folder: str, lists: dict[str, str]) -> Splits:
    parts = []
    for split, path in lists.items():
        images = read_image_list(path, folder, check_files=False)
        if not any(os.path.exists(images.path(index)) for index in range(len(images))):
            raise DataError(
                f"{path}: none of its images is in {folder}, for example {images.path(0)}; give the config with their "
                "image_root by -c"
            )
        parts.append(Split(split, images))
    labels = os.path.join(folder, LABEL_FILE)
    return Splits(parts, read_class_names(labels) if os.path.isfile(labels) else None)
