"""Result files that can be resumed: `RowFile` (JSON lines, CSV) and `Parts` (folder of part files).

A `RowFile` is written by one process, row by row, and loses none of them. `Parts` are written by many processes.
"""

from __future__ import annotations

import contextlib
import csv
import filecmp
import hashlib
import io
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

from ..base.files import atomic_path, hold, require_writable, set_aside, write_text
from ..errors import ConfigError, DataError, ExportError, UserError
from .columns import CLASSES, Columns
from .results import Row

logger = logging.getLogger(__name__)

FORMATS = (".jsonl", ".csv")
UNKNOWN = ("unknown", "unknown_score")  # keys that rows of a bundle have that knows unknown images
SYNC_SECONDS = 5  # at most that much work is lost when the machine itself dies


class Jsonl:
    """One JSON object a line, the row as it is."""

    header = b""

    def encode(self, row: Row) -> bytes:
        return _utf8(json.dumps(row, ensure_ascii=False) + "\n")

    def decode(self, lines: Iterable[bytes]) -> Iterator[Row]:
        for line in lines:
            yield _checked(json.loads(line))


def _checked(row: Row) -> Row:
    """Return a row that was read. Raises ValueError, LookupError, TypeError: no row of this package."""
    if not isinstance(row["file_name"], str):
        raise ValueError("file_name is no text")
    if "error" in row:
        return row
    if "output" in row:
        return {**row, "output": list(map(int, row["output"]))}
    if "class_ids" in row:
        row = {**row, "class_ids": list(map(int, row["class_ids"]))}
    return {**row, "scores": list(map(float, row["scores"]))}


class Csv:
    """A table for spreadsheets: file_name, error, then class_id_1, score_1, label_name_1 and so on.

    `columns` are the lists of a row that have so many columns, by their plurals; those of any number of entries have
    one column each, a list as JSON. Behind error stand `UNKNOWN`, where the rows have them.
    """

    def __init__(self, columns: Columns, unknown: bool = False) -> None:
        self._single = ["file_name", "error", *(UNKNOWN if unknown else ())]
        self._keys, self._count = columns
        self._columns = [*self._single, *self._keys]
        if self._count is not None:
            places = range(1, self._count + 1)
            self._columns = [
                *self._single,
                *(f"{key[:-1]}_{place}" for place in places for key in self._keys),
            ]
        self.header = self._line(self._columns)

    def encode(self, row: Row) -> bytes:
        cells = [row.get(key, "") for key in self._single]
        if self._count is None:
            cells += [json.dumps(row[key], ensure_ascii=False) if key in row else "" for key in self._keys]
        else:
            first, *others = self._keys
            lists = [row.get(key) or itertools.repeat("") for key in others]
            for values in zip(row.get(first, ()), *lists):
                cells += values
        return self._line(cells + [""] * (len(self._columns) - len(cells)))

    def decode(self, lines: Iterable[bytes]) -> Iterator[Row]:
        rows = csv.reader((line.decode() for line in lines), strict=True)
        if next(rows, self._columns) != self._columns:
            raise ValueError("other columns")
        for row in rows:
            if row[1]:
                yield {"file_name": row[0], "error": row[1]}
                continue
            cells = row[len(self._single) :]
            if self._count is None:
                found = {key: json.loads(cell) for key, cell in zip(self._keys, cells)}
            else:
                width = len(self._keys)
                found = {key: list(filter(None, cells[at::width])) for at, key in enumerate(self._keys)}
            yield _checked({"file_name": row[0], **found})

    def _line(self, cells: Sequence[object]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return _utf8(text.getvalue())


def check_output(path: str) -> None:
    """Raise ConfigError if `path` is no name for a file of rows, or cannot be written."""
    if os.path.splitext(path)[1].lower() not in FORMATS:
        raise ConfigError(
            f"output {path}: the name ends in neither {' nor '.join(FORMATS)}, which say the format"
        )
    for written in (path, _partial(path)):
        require_writable(written, ConfigError)


def _partial(path: str) -> str:
    return f"{path}.partial"


class RowFile:
    """Rows on their way into `path`; a context manager, and `finish()` gives the file its name.

    `path` ends in .jsonl or .csv. With `resume` it goes on from what `path`.partial, or a finished `path`, holds;
    without either it is a fresh start. `unknown`: the rows have the keys `UNKNOWN`.

    Attributes:
        done, failed: rows in the file, and those of them with an error.
        last: the last row that `skip_done` found without an error, or None.
        names: {class id: name} of all rows that `skip_done` found, "" for a class without a name.

    Raises ConfigError: `path` cannot be written, or without `resume` `path`.partial is there.
    """

    def __init__(self, path: str, columns: Columns, resume: bool = False, unknown: bool = False) -> None:
        check_output(path)
        self.path, self.partial = path, _partial(path)
        self.done = self.failed = 0
        self.last: Optional[Row] = None
        self.names: Dict[int, str] = {}
        as_table = path.lower().endswith(".csv")
        self._rows: Union[Csv, Jsonl] = Csv(columns, unknown) if as_table else Jsonl()
        if not resume and os.path.exists(self.partial):
            raise ConfigError(
                f"{self.partial}: rows of a run that was ended are there; add --resume to go on from them, or delete "
                "the file"
            )
        self._unchanged = not os.path.exists(self.partial)  # nothing in it that is not in `path`, too
        self._goes_on = resume and self._unchanged and os.path.exists(path)  # from the rows of a finished run
        try:
            if self._goes_on:
                with atomic_path(self.partial, ConfigError) as temporary:
                    shutil.copyfile(path, temporary)
            self._file = open(self.partial, "ab", buffering=0)  # noqa: SIM115, closed by __exit__
        except OSError as problem:
            raise ConfigError(
                f"cannot write {self.partial}: {problem.strerror}; give another output"
            ) from None
        if hold(self._file) is False:
            self._file.close()
            raise ConfigError(
                f"{self.partial}: another run is writing to it; wait for it, or name another output"
            )
        self._synced = time.monotonic()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._unchanged:  # the next run need not be told of it
            with contextlib.suppress(OSError):
                os.unlink(self.partial)
        self._file.close()

    def skip_done(self, names: Iterator[str]) -> None:
        """Take from `names` those that have a row already, and drop a last row that is cut short.

        Raises DataError: the rows in the file are not those of the first `names`.
        """
        whole = end = lines = 0

        def complete_lines() -> Iterator[bytes]:
            nonlocal end, lines
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end, lines = end + len(line), lines + 1
                yield line

        with open(self.partial, "rb") as file:
            try:
                for row in self._rows.decode(complete_lines()):
                    name, expected = row["file_name"], next(names, None)
                    if expected is None or _utf8(expected) != _utf8(name):
                        found = "there is no such image" if expected is None else f"that image is {expected}"
                        raise DataError(
                            f"{self.partial}:{lines}: row {self.done + 1} is of {name}, but now {found}: the images "
                            "are not the same, or were named from another folder; delete the file to begin again"
                        )
                    whole, self.done, self.failed = end, self.done + 1, self.failed + ("error" in row)
                    self.last = self.last if "error" in row else {**row, "file_name": expected}
                    shown = row.get("label_names") or itertools.repeat("")
                    self.names.update(zip(row.get("class_ids", ()), shown))
                whole = end
            except (ValueError, LookupError, TypeError, OverflowError, RecursionError, csv.Error):
                if file.read(1):  # else it is the last line: the machine died as it was written
                    raise DataError(
                        f"{self.partial}:{lines}: no row that this command wrote with these settings; delete the "
                        "file to begin again"
                    ) from None
        with self._disk():
            os.truncate(self.partial, whole)
        if whole == 0:
            self._append(self._rows.header)

    def write(self, row: Row) -> None:
        """Append one row. Raises UserError when the disk is full."""
        self._unchanged = False
        self._append(self._rows.encode(row))
        self.done += 1
        self.failed += "error" in row
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def finish(self) -> None:
        """Give the file its name: every image has a row. One of other rows is set aside, see `files.set_aside`."""
        self._sync()
        folder, name = os.path.split(os.path.abspath(self.path))
        if (
            not self._goes_on
            and os.path.isfile(self.path)
            and not filecmp.cmp(self.partial, self.path, shallow=False)
        ):
            logger.warning("%s of another run moved to %s", name, set_aside(folder, [name]))
        with self._disk():
            os.replace(self.partial, self.path)
        self._unchanged = False

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        with self._disk():
            while left:
                left = left[self._file.write(left) :]

    def _sync(self) -> None:
        with self._disk():
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise UserError(
                f"cannot write {self.partial}: {problem.strerror}; make room and go on from it with --resume"
            ) from None


def _utf8(text: str) -> bytes:
    # A file name of broken bytes becomes its escape, which JSON reads back.
    return text.encode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Parts:
    """Folder of part-00000.jsonl or .parquet and so on, each with the rows of so many images in their order.

    A part appears whole or not at all, and its images do not depend on who makes it or how often. So a part that is
    lost with its worker, or with the whole job, is made again, and every row comes out once. _job.json says of which
    job they are; tools that read a whole folder leave names with _ out.
    """

    folder: str  # absolute path
    format: str  # "jsonl" or "parquet"
    size: int  # images per part
    count: int  # images in all
    unknown: bool = False  # the rows have the keys `UNKNOWN`
    keys: Tuple[str, ...] = CLASSES  # of the rows, beside file_name and error

    def images(self, part: int) -> range:
        """Return the ids of the images of a part; ids are places in the list of images, from 0."""
        return range(part * self.size, min((part + 1) * self.size, self.count))

    def missing(self) -> List[int]:
        """Return the numbers of the parts that are not there yet."""
        return [part for part in range(-(-self.count // self.size)) if not os.path.exists(self._path(part))]

    def _path(self, part: int) -> str:
        return os.path.join(self.folder, f"part-{part:05}.{self.format}")

    def claim(self, names: Iterable[str], model_files: Iterable[str], precision: str = "fp32") -> None:
        """Write _job.json, or raise ConfigError when the folder belongs to another job already."""
        job = {
            "images": self.count,
            "part_size": self.size,
            "format": self.format,
            "list": _checksum(os.fsencode(name) + b"\n" for name in names),
            "model": _checksum(Path(path).read_bytes() for path in model_files),
            "precision": precision,
        }
        path = os.path.join(self.folder, "_job.json")
        if os.path.exists(path):
            found = {"precision": "fp32", **_read_job(path)}  # earlier versions had no other
            different = [key for key, value in job.items() if found.get(key) != value]
            if different:
                raise ConfigError(
                    f"{path}: this folder has rows of another job ({', '.join(different)} differs); "
                    "give another --output, or remove the folder"
                )
        write_text(path, json.dumps(job, indent=1) + "\n", ConfigError)

    def write(self, part: int, rows: Iterable[Row]) -> None:
        """Write the rows of one part, each with its id."""
        rows = [{"id": index, **row} for index, row in zip(self.images(part), rows)]
        with atomic_path(self._path(part), ExportError) as temporary:
            if self.format == "jsonl":
                Path(temporary).write_bytes(b"".join(map(Jsonl().encode, rows)))
            else:
                _write_parquet(rows, temporary, self.keys, self.unknown)


def _read_job(path: str) -> Dict[str, object]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: damaged, so nobody knows whose rows are here; give another --output")
    return found


def _checksum(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _write_parquet(rows: Iterable[Row], path: str, keys: Sequence[str], unknown: bool) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {
        "class_ids": pyarrow.list_(pyarrow.int32()),
        "scores": pyarrow.list_(pyarrow.float32()),
        "label_names": pyarrow.list_(pyarrow.string()),
        "attributes": pyarrow.list_(pyarrow.string()),
        "output": pyarrow.list_(pyarrow.int8()),
    }
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64()),
            ("file_name", pyarrow.string()),
            *((key, types[key]) for key in keys),
            ("error", pyarrow.string()),
            *(zip(UNKNOWN, (pyarrow.bool_(), pyarrow.float32())) if unknown else ()),
        ]
    )
    texts = [
        {key: _utf8(value).decode() if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]
    for row in texts:
        if isinstance(row.get("attributes"), str):  # of a vehicle
            row["attributes"] = [row["attributes"]]
    parquet.write_table(pyarrow.Table.from_pylist(texts, schema), path)
