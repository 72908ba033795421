"""Lists of images with tags: an image has any number of them, in place of one class.

| list | its lines |
|---|---|
| of numbers | `path<tab>0,1,0`: for each tag 1 (the image has it), 0 (it has not) or -1 (not known) |
| of names | `path<tab>hat,scarf`: the tags that the image has; a path alone is an image without tags |
| a table, `*.csv` | a header with a column `path` and one per tag; cells are 1, 0, and -1 or empty (not known) |

In the first two the last run of spaces and tabs separates path and tags, as in a list of classes; where the file has a
tab, tabs alone do, and names of tags may hold spaces.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from array import array
from collections import Counter
from typing import Iterator, Sequence

import numpy as np

from ..base.files import StrPath
from ..errors import DataError, listed
from .classes import ClassNames, composed
from .image_list import ImageList, ListFile, short

UNKNOWN = -1
_PATH_COLUMNS = ("path", "image", "image_path", "file", "file_name", "filename")
_NUMBERS = {"1": 1, "0": 0, "-1": UNKNOWN}
# A table with empty cells, written by pandas, has numbers of floating point.
_CELLS = {**_NUMBERS, "1.0": 1, "0.0": 0, "-1.0": UNKNOWN, "": UNKNOWN}
_NUMBER = re.compile(r"[-+]?[0-9.]+")


class TaggedImages(ImageList):
    """Images with K tags each; 1.28 M with 80 tags take about 160 MB."""

    stored_type = np.int8
    label_type = np.float32

    @property
    def labels(self) -> np.ndarray:
        """int8 (N, K): 1 for a tag that the image has, 0 for one that it has not, -1 for one that is not known."""
        return self._labels.array

    @property
    def known_labels(self) -> np.ndarray:
        """`labels`: each image has some."""
        return self.labels

    @property
    def tag_shares(self) -> np.ndarray:
        """Share of the images that have each tag, of those of which it is known; float64 (K,)."""
        has, known = (self.labels == 1).sum(axis=0), (self.labels != UNKNOWN).sum(axis=0)
        return has / np.maximum(known, 1)

    def label(self, index: int) -> np.ndarray:
        """Return the tags of an entry, float32 (K,)."""
        return self.labels[index].astype(np.float32)

    def truth(self, index: int) -> dict[str, list[int]]:
        """Return {"label": the tags of an entry, "unknown": those that are not known}, by their numbers."""
        row = self.labels[index]
        return {"label": np.flatnonzero(row == 1).tolist(), "unknown": np.flatnonzero(row < 0).tolist()}

    def folder_counts(self) -> Counter[tuple[str, int]]:
        """Return an empty Counter: folders do not tell tags."""
        return Counter()


def read_tag_list(
    list_file: StrPath,
    image_root: StrPath,
    class_num: int,
    names: ClassNames | None = None,
    delimiter: str | None = None,
    check_files: bool = True,
) -> tuple[TaggedImages, ClassNames | None]:
    """Read a list of images with tags and check all of it.

    `names` number the tags; without them the header does, or the names that occur, sorted. `delimiter` is between path
    and tags, in a table between cells. Returned are the images and their `names`, None for a list of numbers without.

    Raises DataError: all problems at once, as `read_image_list`; or the file could be of two kinds.
    """
    file = ListFile(list_file, image_root, check_files)
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{names.source}: two tags have the same name; rename one of them")
    if os.fspath(list_file).lower().endswith(".csv"):
        names, values = _from_table(file, names, delimiter or ",")
    else:
        lines = _Lines(file, delimiter)
        if lines.are_numbers():
            values = _from_numbers(file, lines, class_num)
        else:
            names, values = _from_names(file, lines, names)
    width = class_num if names is None else len(names)
    return TaggedImages(
        image_root, file.names, np.frombuffer(values, np.int8).reshape(-1, width), list_file
    ), names


class _Lines:
    """Lines of a text file as (number, path, tags), with the separator that the file has between the two."""

    def __init__(self, file: ListFile, delimiter: str | None) -> None:
        self._file = file
        given = delimiter.encode() if delimiter and delimiter.strip(" \t") else None
        self._separator = given or (b"\t" if b"\t" in file.data else None)

    def __iter__(self) -> Iterator[tuple[int, bytes, list[str]]]:
        for number, line in self._file.lines():
            name, *rest = line.rsplit(self._separator, 1)
            tags = composed(rest[0].decode()).split(",") if rest else []
            yield number, name.strip(b" \t"), [tag.strip() for tag in tags]

    def are_numbers(self) -> bool:
        """Return whether these are lines of numbers, by the first one that has any tag.

        Raises DataError: it has numbers and names; or it may be the header of a table.
        """
        path = self._file.path
        first = next((line for _, line in self._file.lines()), b"")
        cell, comma, _ = first.partition(b",")
        if comma and self._separator is None and not re.search(rb"[\s.]", cell):
            raise DataError(
                f"{path}: '{short(first)}' may be the header of a table; rename the file to end in .csv if it is one, "
                "else write a tab between path and tags"
            )
        for number, _, tags in self:
            if any(tag[:1] == '"' for tag in tags):
                raise DataError(
                    f"{path}:{number}: quotes are for tables; write the tags without them, or a table with "
                    "a header as .csv"
                )
            if tags:
                kinds = {bool(_NUMBER.fullmatch(tag)) for tag in tags}
                if len(kinds) > 1:
                    raise DataError(
                        f"{path}:{number}: '{','.join(tags)}' has numbers and names; write 1, 0 or -1 for each tag, or "
                        "the names of the tags that the image has"
                    )
                return kinds.pop()
        raise DataError(
            f"{path}: no line has tags; write 'path<tab>0,1,0' or 'path<tab>tag,tag', or a table with a header as .csv"
        )


def _from_numbers(file: ListFile, lines: _Lines, class_num: int) -> array[int]:
    values = array("b")
    for number, name, tags in lines:
        row = [_NUMBERS.get(tag) for tag in tags]
        if len(row) != class_num:
            file.refuse(
                number,
                f"{len(row)} values for {class_num} tags (Arch.class_num); a line is 'path<tab>0,1,0' with one for "
                "each",
            )
        elif not _extended(values, row):
            file.refuse(number, _wrong_value(tags[row.index(None)]))
        else:
            file.add(number, name)
    example = "path<tab>" + ",".join(["0", "1", "0", "0"][:class_num])
    file.require(
        f"'path<tab>0,1,0' with the path relative to image_root {file.image_root} and 1, 0 or -1 (not known) for each "
        f"of the {class_num} tags",
        f"'{example}' per line",
    )
    return values


def _from_names(file: ListFile, lines: _Lines, names: ClassNames | None) -> tuple[ClassNames, array[int]]:
    if names is None:
        found = {tag for _, _, tags in lines for tag in tags if tag and not _NUMBER.fullmatch(tag)}
        names = ClassNames(tuple(sorted(found)), f"tags in {file.path}")
    places, values = {name: place for place, name in enumerate(names)}, array("b")
    for number, name, tags in lines:
        tags = [tag for tag in tags if tag]
        unknown = next((tag for tag in tags if tag not in places), None)
        if unknown is not None:
            why = (
                "is a number, and other lines have names"
                if _NUMBER.fullmatch(unknown)
                else f"is none of the {len(names)} tags of {names.source} ({listed(names)})"
            )
            file.refuse(number, f"'{short(unknown.encode())}' {why}; correct it")
            continue
        file.add(number, name)
        row = bytearray(len(names))
        for tag in tags:
            row[places[tag]] = 1
        values.frombytes(row)
    file.require(
        f"'path<tab>tag,tag' with the path relative to image_root {file.image_root} and tags of {names.source} "
        f"({listed(names)}); names with spaces need the tab",
        "'path<tab>tag,tag' per line",
    )
    return names, values


def _from_table(file: ListFile, names: ClassNames | None, delimiter: str) -> tuple[ClassNames, array[int]]:
    rows = _rows(file, delimiter)
    number, header = next(rows, (1, []))
    header = list(map(composed, header))
    path_column, names = _columns(file, number, header, names)
    columns, values = [header.index(name) for name in names], array("b")
    for number, cells in rows:
        if len(cells) != len(header):
            file.refuse(
                number, f"{len(cells)} cells, and the header has {len(header)}; write one for each column"
            )
            continue
        row = [_CELLS.get(cells[column]) for column in columns]
        if not cells[path_column]:
            file.refuse(number, f"no path in the column {header[path_column]}; write one, or delete the line")
        elif not _extended(values, row):
            tag = columns[row.index(None)]
            of_names = "; tags by name are lines 'path<tab>hat,scarf' of a .txt" if len(columns) == 1 else ""
            file.refuse(number, f"{header[tag]}: {_wrong_value(cells[tag])}{of_names}")
        else:
            file.add(number, cells[path_column].encode())
    file.require(
        f"{header[path_column]} has the path relative to image_root {file.image_root}, and each tag 1, 0, or -1 or "
        "nothing where it is not known",
        "line per image below the header",
    )
    return names, values


def _rows(file: ListFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of a table, the header first."""
    if len(delimiter) != 1:
        raise DataError(
            f"{file.path}: the delimiter '{delimiter}' of a table is no single character; use ','"
        )
    reader = csv.reader(io.StringIO(file.data.decode(), newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(
            f"{file.path}:{reader.line_num}: no table of cells ({error}); correct the quotes"
        ) from None


def _columns(
    file: ListFile, number: int, header: Sequence[str], names: ClassNames | None
) -> tuple[int, ClassNames]:
    """Return the column of paths and the tags of a table, in the order of `names` or else of its columns."""
    where = f"{file.path}:{number}"
    paths = [column for column, cell in enumerate(header) if cell.lower() in _PATH_COLUMNS]
    other = next((mark for mark in ";\t" if header[0].split(mark)[0].lower() in _PATH_COLUMNS), None)
    if not paths and other is not None:
        mark = json.dumps(other)
        raise DataError(f"{where}: the cells are separated by {mark}; add delimiter: {mark} to the dataset")
    if len(paths) != 1:
        found = f"{len(paths)} columns are" if paths else "no column is"
        raise DataError(
            f"{where}: {found} called {', '.join(_PATH_COLUMNS[:-1])} or {_PATH_COLUMNS[-1]}; a table begins with a "
            "header like path,hat,scarf; rename a list of lines 'path<tab>0,1,0' to end in .txt"
        )
    tags = [cell for column, cell in enumerate(header) if column != paths[0]]
    twice = next((tag for tag in tags if tags.count(tag) > 1), None)
    if twice is not None or "" in tags or not tags:
        problem = "there is no column of a tag" if not tags else f"two columns are called '{twice}'"
        raise DataError(
            f"{where}: {'a column has no name' if '' in tags else problem}; the header is path and the name of each "
            "tag, once"
        )
    own = ClassNames(tuple(tags), f"header of {file.path}")
    if names is None:
        return paths[0], own
    missing, others = [tag for tag in names if tag not in own], [tag for tag in own if tag not in names]
    if missing or others:
        has = [f"has no column of {listed(missing)}"] if missing else []
        has += [f"has columns that are no tags of it: {listed(others)}"] if others else []
        raise DataError(
            f"{where}: the tags are those of {names.source}, and the header {' and '.join(has)}; rename, add (empty "
            "where not known) or delete columns"
        )
    return paths[0], names


def _extended(values: array[int], row: list[int | None]) -> bool:
    """Append the values of an image; return False, and append none, where one of them is missing."""
    if None in row:
        return False
    values.extend(row)  # type: ignore[arg-type]
    return True


def _wrong_value(text: str) -> str:
    return (
        f"'{short(text.encode())}' is not 1, 0 or -1; write 1 where the image has the tag, 0 where not, -1 where that "
        "is not known"
    )
