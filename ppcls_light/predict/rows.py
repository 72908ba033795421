"""A file with a row for each image, which a run that was ended can go on from.

Rows are appended to FILE.partial, and each is in the system's hands as soon as it was written: a process that is
killed loses none. FILE.partial is renamed to FILE when every image has its row.
"""

import contextlib
import csv
import filecmp
import io
import itertools
import json
import logging
import os
import shutil
import time

from ..base.files import atomic_path, hold, require_writable, set_aside
from ..errors import ConfigError, DataError, UserError

logger = logging.getLogger(__name__)

FORMATS = (".jsonl", ".csv")
SYNC_SECONDS = 5  # at most that much work is lost when the machine itself dies


class Jsonl:
    """One JSON object a line: file_name, class_ids, scores, label_names; or file_name, error."""

    header = b""

    def encode(self, row):
        return _utf8(json.dumps(row, ensure_ascii=False) + "\n")

    def decode(self, lines):
        """Yield (file_name, {class id: score}, or None if it failed, {class id: name}) of each row."""
        for line in lines:
            row = json.loads(line)
            if not isinstance(row["file_name"], str):
                raise ValueError("file_name is no text")
            if "error" in row:
                yield row["file_name"], None, {}
            else:
                ids = list(map(int, row["class_ids"]))
                names = row.get("label_names") or ()
                yield row["file_name"], dict(zip(ids, map(float, row["scores"]))), dict(zip(ids, names))


class Csv:
    """A table for spreadsheets: file_name, error, then class_id_1, score_1, label_name_1 and so on to `topk`."""

    def __init__(self, topk):
        self._columns = ["file_name", "error"]
        for place in range(1, topk + 1):
            self._columns += [f"class_id_{place}", f"score_{place}", f"label_name_{place}"]
        self.header = self._line(self._columns)

    def encode(self, row):
        cells = [row["file_name"], row.get("error", "")]
        names = row.get("label_names") or itertools.repeat("")
        for values in zip(row.get("class_ids", ()), row.get("scores", ()), names):
            cells += values
        return self._line(cells + [""] * (len(self._columns) - len(cells)))

    def decode(self, lines):
        """Yield (file_name, {class id: score}, or None if it failed, {class id: name}) of each row."""
        rows = csv.reader((line.decode() for line in lines), strict=True)
        if next(rows, self._columns) != self._columns:
            raise ValueError("other columns")
        for row in rows:
            if row[1]:
                yield row[0], None, {}
            else:
                ids = list(map(int, filter(None, row[2::3])))
                names = {class_id: name for class_id, name in zip(ids, row[4::3]) if name}
                yield row[0], dict(zip(ids, map(float, filter(None, row[3::3])))), names

    def _line(self, cells):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return _utf8(text.getvalue())


def check_output(path):
    """Raise ConfigError if `path` is no name for a file of rows, or cannot be written."""
    if os.path.splitext(path)[1].lower() not in FORMATS:
        raise ConfigError(
            f"output {path}: the name ends in neither {' nor '.join(FORMATS)}, which say the format"
        )
    for written in (path, _partial(path)):
        require_writable(written, ConfigError)


def _partial(path):
    return f"{path}.partial"


class RowFile:
    """Rows on their way into `path`; a context manager, and `finish()` gives the file its name.

    Args:
        path: ends in .jsonl or .csv.
        topk: classes of a row.
        resume: go on from what `path`.partial, or a finished `path`, holds; without either it is a fresh start.

    Attributes:
        done, failed: rows in the file, and those of them with an error.
        last: (file name, {class id: score}) of the last row that `skip_done` found without one, or None.
        names: {class id: name} of all rows that `skip_done` found.

    Raises:
        ConfigError: `path` cannot be written, or without `resume` `path`.partial is there.
    """

    def __init__(self, path, topk, resume=False):
        check_output(path)
        self.path, self.partial = path, _partial(path)
        self.done, self.failed, self.last, self.names = 0, 0, None, {}
        self._rows = Csv(topk) if path.lower().endswith(".csv") else Jsonl()
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._unchanged:  # the next run need not be told of it
            with contextlib.suppress(OSError):
                os.unlink(self.partial)
        self._file.close()

    def skip_done(self, names):
        """Take from the iterator `names` those that have a row already, and drop a last row that is cut short.

        Raises:
            DataError: the rows in the file are not those of the first `names`.
        """
        end, lines = 0, 0

        def complete_lines(file):
            nonlocal end, lines
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end, lines = end + len(line), lines + 1
                yield line

        whole = 0
        with open(self.partial, "rb") as file:
            rows = self._rows.decode(complete_lines(file))
            while True:
                try:
                    name, scores, names_in_row = next(rows)
                except StopIteration:
                    whole = end
                    break
                except (ValueError, LookupError, TypeError, OverflowError, RecursionError, csv.Error):
                    if file.read(1):
                        raise DataError(
                            f"{self.partial}:{lines}: no row that this command wrote with these settings; delete "
                            "the file to begin again"
                        ) from None
                    break  # the last line: the machine died as it was written
                expected = next(names, None)
                if expected is None or _utf8(expected) != _utf8(name):
                    found = "there is no such image" if expected is None else f"that image is {expected}"
                    raise DataError(
                        f"{self.partial}:{lines}: row {self.done + 1} is of {name}, but now {found}: the images are "
                        "not the same, or were named from another folder; delete the file to begin again"
                    )
                whole, self.done, self.failed = end, self.done + 1, self.failed + (scores is None)
                self.last = self.last if scores is None else (expected, scores)
                self.names.update(names_in_row)
        with self._disk():
            os.truncate(self.partial, whole)
        if whole == 0:
            self._append(self._rows.header)

    def write(self, row):
        """Append one row. Raises UserError when the disk is full."""
        self._unchanged = False
        self._append(self._rows.encode(row))
        self.done += 1
        self.failed += "error" in row
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def finish(self):
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

    def _append(self, data):
        data = memoryview(data)
        with self._disk():
            while data:
                data = data[self._file.write(data) :]

    def _sync(self):
        with self._disk():
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    @contextlib.contextmanager
    def _disk(self):
        try:
            yield
        except OSError as problem:
            raise UserError(
                f"cannot write {self.partial}: {problem.strerror}; make room and go on from it with --resume"
            ) from None


def _utf8(text):
    # A file name of broken bytes becomes its escape, which JSON reads back.
    return text.encode("utf-8", "backslashreplace")
