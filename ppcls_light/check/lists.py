"""Cleaned lists: those of the splits without the images that findings are about. No image is touched."""

from __future__ import annotations

import os
from typing import Iterator, Sequence

from ..base.files import results
from ..base.tables import write_csv
from ..data.cifar import CifarImages
from ..data.classes import ClassNames
from ..data.scan import LABEL_FILE
from ..data.split import write_labels, write_lines
from ..data.tags import TaggedImages
from ..errors import ConfigError, DataError
from .kinds import KINDS, Finding
from .splits import Split, Splits

DROPPED_FILE = "dropped.csv"


def dropped_images(found: list[Finding], kinds: Sequence[str]) -> dict[int, list[Finding]]:
    """Return {image: findings for which it is dropped}, of the kinds given.

    Of two images that are the same, one stays; none, where their labels differ: nothing says which is right.
    """
    dropped: dict[int, list[Finding]] = {}
    for finding in found:
        if finding.kind in kinds:
            dropped.setdefault(finding.image, []).append(finding)
            if finding.kind.endswith("conflict") and finding.other is not None:
                mirror = finding._replace(image=finding.other, other=finding.image)
                dropped.setdefault(finding.other, []).append(mirror)
    return dropped


def write_cleaned(folder: str, splits: Splits, dropped: dict[int, list[Finding]]) -> dict[str, str]:
    """Write a list without the `dropped` images for each split into `folder`, and dropped.csv with the reasons.

    The lists have the names of those that they replace, and paths below the same image_root; unlabelled images are in
    a list of their own. Where class folders had named the classes, labels.txt does. The files appear together; others
    that are there are set aside, see `files.results`.

    Returns {key of the config: path of the file to set it to}.

    Raises DataError: a split would be empty, or a list cannot hold the name of a file.
    """
    keys: dict[str, str] = {}
    names = _list_names(splits)
    with results(folder) as scratch:
        for place, part in enumerate(splits.parts):
            kept = [index for index in splits.members(place) if index not in dropped]
            if not any(splits.labels[index] >= 0 for index in kept):
                raise DataError(f"{part.name}: no labelled image is left; drop fewer kinds: --fix damaged")
            keys.update(_write_split(scratch, folder, splits, part, names[place], kept))
        if os.path.isdir(splits.parts[0].images.source):
            write_labels(os.path.join(scratch, LABEL_FILE), ClassNames(tuple(splits.class_names), folder))
            keys["Infer.PostProcess.class_id_map_file"] = os.path.join(folder, LABEL_FILE)
        columns = ("split", "file", "class", "reason", "detail", "other_split", "other_file")
        write_csv(os.path.join(scratch, DROPPED_FILE), columns, _reasons(splits, dropped))
    return keys


def require_files(splits: Splits) -> None:
    """Raise ConfigError if the images are no files, as CIFAR's, which no list can name, or have tags or no labels."""
    for part in splits.parts:
        if isinstance(part.images, TaggedImages):
            raise ConfigError(
                f"--fix: {part.images.source}: lists of tags are not written anew; delete the lines of the images that "
                "findings.csv names"
            )
        if isinstance(part.images, CifarImages):
            raise ConfigError(
                f"--fix: {part.images.source}: these images are no files that a list could name"
            )
        if not (part.images.labels >= 0).any():
            raise ConfigError(
                f"--fix: {part.images.source}: lists without labels are not written anew; delete the lines of the "
                "images that findings.csv names"
            )


def _list_names(splits: Splits) -> list[str]:
    """Return a file name for each split: that of its list, where it has one of its own."""
    sources = [os.path.basename(part.images.source) for part in splits.parts]
    return [
        source
        if source.endswith(".txt") and sources.count(source) == 1 and source != LABEL_FILE
        else f"{part.name.lower()}_list.txt"
        for part, source in zip(splits.parts, sources)
    ]


def _write_split(
    scratch: str, folder: str, splits: Splits, part: Split, name: str, kept: list[int]
) -> Iterator[tuple[str, str]]:
    """Write the lists of a split, the labelled images as `name`; yield the keys that name them, and their paths."""
    labelled = [index for index in kept if splits.labels[index] >= 0]
    mark = part.delimiter or " "
    write_lines(os.path.join(scratch, name), (f"{splits.name(i)}{mark}{splits.labels[i]}" for i in labelled))
    if part.section is not None:
        yield f"{part.section}.cls_label_path", os.path.join(folder, name)
    if len(labelled) < len(kept):
        rest = f"{part.name.lower()}_unlabelled.txt"
        write_lines(os.path.join(scratch, rest), (splits.name(i) for i in kept if splits.labels[i] < 0))
        yield f"{part.section}.unlabelled", os.path.join(folder, rest)


def _reasons(splits: Splits, dropped: dict[int, list[Finding]]) -> Iterator[tuple[object, ...]]:
    for index in sorted(dropped):
        for finding in dropped[index]:
            yield (
                *(splits.split_name(index), splits.name(index), splits.class_name(index)),
                *(KINDS[finding.kind].one, finding.detail),
                *(
                    ("", "")
                    if finding.other is None
                    else (splits.split_name(finding.other), splits.name(finding.other))
                ),
            )
