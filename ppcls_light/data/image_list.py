"""Lists of labelled images, and the list files that they are read from.

A list file is UTF-8 text with one `path label` per line. The last run of spaces and tabs separates the two,
so that paths may hold both; CRLF, a byte order mark, blank lines and backslashes in paths are accepted.
"""

from __future__ import annotations

import contextlib
import io
import os
from array import array
from collections import Counter
from typing import Any, Iterable, Iterator, Sequence

import numpy as np

from ..base.files import StrPath, read_utf8
from ..base.hints import command
from ..errors import DataError
from .shared import SharedArray

_MOST_DIGITS = 18  # of a label
_SHOWN = 20  # problems of one list that are listed; the rest is counted
_UNSEEN, _GONE = 0, -1  # stamps of files


class PackedNames:
    """Texts as UTF-8 bytes, one after the other in one array: a list of them would take twice the memory."""

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        self._packed, self._ends = bytearray(), array("q")
        for name in names:
            self.append(name)

    def append(self, name: bytes) -> None:
        self._packed += name
        self._ends.append(len(self._packed))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._packed[self._ends[index - 1] if index else 0 : self._ends[index]])

    def __iter__(self) -> Iterator[bytes]:
        packed, start = bytes(self._packed), 0
        for end in self._ends:
            yield packed[start:end]
            start = end

    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 (bytes,), the names, and int64 (N,), where each of them ends."""
        return np.frombuffer(self._packed, np.uint8), np.frombuffer(self._ends, np.int64)


class ImageList:
    """Paths and labels in three arrays: 1.28 M entries take about 65 MB, once for all workers of a loader.

    `names` are relative to the folder `root`, UTF-8 with "/" (absolute ones are kept). Without `labels` all are -1.
    `source`, the file or folder that they were read from, is for messages; None: `root`.
    """

    stored_type: type = np.int64  # of `labels`
    label_type: type = np.int64  # of those of a batch

    def __init__(
        self,
        root: StrPath,
        names: Iterable[bytes],
        labels: Sequence[int] | np.ndarray | None = None,
        source: StrPath | None = None,
    ) -> None:
        self.root = os.fspath(root)
        self.source = self.root if source is None else os.fspath(source)
        packed, ends = (names if isinstance(names, PackedNames) else PackedNames(names)).packed()
        self._packed, self._ends = SharedArray(packed), SharedArray(ends)
        self._labels = SharedArray(
            np.full(len(ends), -1, np.int64) if labels is None else np.asarray(labels, self.stored_type)
        )
        self._stamp = _stamp(self.source)

    def __len__(self) -> int:
        return len(self._ends.array)

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), -1 without a label."""
        return self._labels.array

    @property
    def known_labels(self) -> np.ndarray:
        """The labels of the images that have one, int64."""
        return self.labels[self.labels >= 0]

    def joined(self, paths: Iterable[str]) -> ImageList:
        """Return these images and, after them, those at `paths`, without labels."""
        own = [self.name(index).encode() for index in range(len(self))]
        further = [os.path.abspath(path).replace(os.sep, "/").encode() for path in paths]
        labels = np.concatenate([self.labels, np.full(len(further), -1, np.int64)])
        return ImageList(self.root, [*own, *further], labels, self.source)

    def name(self, index: int) -> str:
        """Return the path of an entry as the list has it."""
        ends = self._ends.array
        return self._packed.array[ends[index - 1] if index else 0 : ends[index]].tobytes().decode()

    def path(self, index: int) -> str:
        """Return the path of an entry, joined to `root`."""
        return os.path.join(self.root, self.name(index))

    @property
    def tag_shares(self) -> np.ndarray | None:
        """None: an image has one class, and no tags."""
        return None

    def label(self, index: int) -> Any:
        """Return the label of an entry, an int."""
        return int(self.labels[index])

    def truth(self, index: int) -> dict[str, Any]:
        """Return {"label": int} of an entry, for rows of JSON."""
        return {"label": self.label(index)}

    def changes(self) -> list[str]:
        """Return [`source`] if the list file, or the folder itself, changed since it was last asked, else []."""
        before, self._stamp = self._stamp, _stamp(self.source)
        return [] if before == self._stamp else [self.source]

    def folder_counts(self) -> Counter[tuple[str, int]]:
        """Return a Counter of (name of the folder, the last one in a path, and label) over labelled images."""
        packed, start, counts = self._packed.array.tobytes(), 0, Counter[tuple[bytes, int]]()
        for end, label in zip(self._ends.array.tolist(), self.labels.tolist()):
            above = packed.rfind(b"/", start, end)
            if above > start and label >= 0:
                counts[packed[max(packed.rfind(b"/", start, above), start - 1) + 1 : above], label] += 1
            start = end
        return Counter({(folder.decode(), label): count for (folder, label), count in counts.items()})


class IndexedWatch:
    """N files by number; the workers of a loader know of each other's, where `shared.available()`.

    8 bytes per file, which the system gives only once they are used.
    """

    def __init__(self, count: int) -> None:
        self._stamps = SharedArray(np.full(count, _UNSEEN, np.int64))

    def changed(self, index: int, path: str) -> bool:
        """Return whether file `index`, at `path`, is another than at the last call for it; no at the first one."""
        stamps, stamp = self._stamps.array, _stamp(path)
        before, stamps[index] = stamps[index], stamp
        return before not in (_UNSEEN, stamp)


def _stamp(path: str) -> int:
    """Return a number for a file's size, place on the disk and time of the last change; its content is not read."""
    try:
        status = os.stat(path)
    except OSError:
        return _GONE
    return hash((status.st_size, status.st_ino, status.st_mtime_ns)) or 1


def read_image_list(
    list_file: StrPath,
    image_root: StrPath,
    class_num: int | None = None,
    delimiter: str | None = None,
    labelled: bool = True,
    check_files: bool = True,
) -> ImageList:
    """Read a list file and check all of it.

    Labels must lie in 0..class_num - 1; None: only not negative. `delimiter` is between path and label; None: the
    last run of spaces and tabs. Lines that are not `labelled` hold a path only, up to the first `delimiter` if there is
    one; their labels are -1.

    Raises DataError: all problems at once; the first 20 as "file:line: reason", with their count and the fix.
    """
    file = ListFile(list_file, image_root, check_files)
    separator = delimiter.encode() if delimiter and delimiter.strip(" \t") else None
    labels = array("q")
    for number, line in file.lines():
        if labelled:
            name, label, problem = _parse(line, separator, class_num)
        else:
            name, label, problem = line.split(delimiter.encode())[0] if delimiter else line, -1, None
        if problem is None:
            file.add(number, name)
            labels.append(label)
        else:
            file.refuse(number, problem)
    most = "" if class_num is None else f" up to {class_num - 1}"
    file.require(
        f"'path label' with the path relative to image_root {image_root} and labels from 0{most}"
        if labelled
        else f"a path relative to image_root {image_root}, alone or, in CustomLabelDataset, with its delimiter behind",
        f"'path label' per line ({command('lists')})" if labelled else "path per line",
    )
    return ImageList(image_root, file.names, np.frombuffer(labels, np.int64), list_file)


class ListFile:
    """Lines of a list file, and all that is wrong with them.

    Raises DataError: it cannot be read; `image_root` is no folder, where files are checked.
    """

    def __init__(self, path: StrPath, image_root: StrPath, check_files: bool = True) -> None:
        self.path, self.image_root, self._check_files = path, image_root, check_files
        self.data = read_utf8(path)
        if check_files and not os.path.isdir(image_root):
            raise DataError(f"image_root {image_root} is not a folder; it is where the paths of {path} begin")
        self.names = PackedNames()
        self._numbers = array("q")
        self._problems: list[tuple[int, str]] = []

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number from 1, line without space around it) of the lines that are not blank."""
        # From the buffer: all of them as objects at once would take twice the size of the file.
        for number, line in enumerate(io.BytesIO(self.data), 1):
            if line := line.strip(b" \t\r\n"):
                yield number, line

    def add(self, number: int, name: bytes) -> None:
        """Take in the image `name` of line `number`."""
        self.names.append(name.replace(b"\\", b"/"))
        self._numbers.append(number)

    def refuse(self, number: int, problem: str) -> None:
        """Note that line `number` is wrong."""
        self._problems.append((number, problem))

    def require(self, form: str, example: str) -> None:
        """Raise DataError if a line is wrong, an image is missing, or there is none at all.

        `form` describes a right line and `example` what to write, for these messages.
        """
        lines = len(self.names) + len(self._problems)
        for index in _missing(self.names, self.image_root) if self._check_files else ():
            path = os.path.join(os.fspath(self.image_root), short(self.names[index]))
            self._problems.append((self._numbers[index], f"there is no image {path}"))
        if self._problems:
            head = f"{lines} lines are wrong; correct or delete them: {form}"
            raise _report(self.path, self._problems, head)
        if not self.names:
            raise DataError(f"{self.path}: the list is empty; write one {example}")


def _parse(line: bytes, separator: bytes | None, class_num: int | None) -> tuple[bytes, int, str | None]:
    """Return (path, label, problem) of one line; problem is None when the line is right."""
    parts = line.rsplit(separator, 1)
    if len(parts) < 2:
        wanted = f"path{separator.decode() if separator else ' '}label"
        return line, -1, f"'{short(line)}' has no label; a line is '{wanted}'"
    name, text = (part.strip(b" \t") for part in parts)
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        return name, -1, f"label '{short(text)}' is not a whole number; a line is 'path label'"
    label = int(text)
    if label < 0 or (class_num is not None and label >= class_num):
        allowed = "negative" if class_num is None else f"outside 0..{class_num - 1} (class_num {class_num})"
        return name, label, f"label {label} is {allowed}. Labels start at 0."
    return name, label, None


def short(text: bytes) -> str:
    """Return at most 200 characters of a part of a line, for messages."""
    shown = text.decode()
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _report(list_file: StrPath, problems: list[tuple[int, str]], head: str) -> DataError:
    """Return all problems as one error: the first of them with the number of their line, below `head`."""
    listed = [f"{list_file}:{number}: {reason}" for number, reason in sorted(problems)[:_SHOWN]]
    if len(problems) == 1:
        return DataError(*listed)
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return DataError(f"{list_file}: {len(problems)} of {head}", *listed, *more)


def _missing(names: PackedNames, root: StrPath) -> list[int]:
    """Return the indices of the `names` that are no files below `root`.

    One directory listing per folder takes the place of one system call per file, and a hash of 8 bytes that of a path.
    """
    base, listed = os.fsencode(root), array("q", [0])  # so that there is one to compare with
    for folder in {name[: name.rfind(b"/") + 1] for name in names}:
        # A folder that cannot be listed: its files are tried one by one below.
        with contextlib.suppress(OSError):
            listed.extend(hash(folder + name) for name in os.listdir(os.path.join(base, folder)))
    there = np.sort(np.frombuffer(listed, np.int64))
    wanted = np.fromiter(map(hash, names), np.int64, len(names))
    nearest = there[np.minimum(np.searchsorted(there, wanted), len(there) - 1)]
    unlisted = np.flatnonzero(nearest != wanted)
    # A file system may spell a name in another way (case, Unicode form) and still open it.
    return [index for index in unlisted.tolist() if not os.path.isfile(os.path.join(base, names[index]))]
