"""Files of a network's answers, a row of numbers for each image or view, found by the content of the image.

    CACHE/0f3c.../about.json       # the network, its preprocessing and the versions that computed
    CACHE/0f3c.../part_91ab....npz # up to `PART` rows: digests uint8 (n, 32), answers float32 (n, D)
    CACHE/77d0.../about.json       # ... and how the views of the images are drawn
    CACHE/77d0.../records          # a record at the place of each view: digest, checksum, answer

The name of the folder is the checksum of about.json, and an image is known by the SHA-256 of its file: another network,
preprocessing, version or photo is computed anew, whatever it is called. A part is written at once, so that a run that
is ended goes on after the last one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import zipfile
import zlib
from typing import Any, BinaryIO, Iterator, Mapping, Sequence

import numpy as np

from ..base.files import StrPath, atomic_path, write_text
from ..errors import DataError

PART = 512
_HEAD = struct.Struct("<32sI")  # of a record: SHA-256 of the image file, CRC-32 of that and the row


def folder_of(cache: StrPath, about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the folder of answers that depend on `about`, anything that JSON holds, and the text of its about.json."""
    text = json.dumps(about, indent=1, sort_keys=True, default=str) + "\n"
    return os.path.join(cache, hashlib.sha256(text.encode()).hexdigest()[:16]), text


class Answers:
    """Rows float32 (D,) by the digest of an image file (32 bytes), kept in a folder below `cache`.

    `about` describes all that an answer depends on beside the image; anything that JSON holds.
    """

    def __init__(self, cache: StrPath, about: Mapping[str, Any]) -> None:
        self.folder, self._about = folder_of(cache, about)
        self._rows: dict[bytes, np.ndarray] = {}
        self._fresh: list[tuple[bytes, np.ndarray]] = []

    def read(self) -> None:
        """Read what the folder has. Raises DataError: a file is damaged."""
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        for name in names:
            if name.startswith("part_") and name.endswith(".npz"):
                self._rows.update(_read_part(os.path.join(self.folder, name)))
        if len({len(row) for row in self._rows.values()}) > 1:
            raise DataError(
                f"{self.folder}: its files have answers of different lengths; delete it, and all are computed again"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def rows(self, digests: Sequence[bytes]) -> np.ndarray:
        """Return float32 (len(digests), D); rows that are not there are not numbers."""
        width = len(next(iter(self._rows.values()), ()))
        found = np.full((len(digests), width), np.nan, np.float32)
        for index, digest in enumerate(digests):
            if digest in self._rows:
                found[index] = self._rows[digest]
        return found

    def add(self, digest: bytes, row: np.ndarray) -> None:
        """Add a row, and write a part when there are enough new ones. Raises DataError: it cannot be written."""
        self._rows[digest] = row
        self._fresh.append((digest, row))
        if len(self._fresh) == PART:
            self.write()

    def write(self) -> None:
        """Write the rows that are in no file yet. Raises DataError: the folder cannot be written."""
        if not self._fresh:
            return
        digests, rows = zip(*self._fresh)
        name = f"part_{hashlib.sha256(b''.join(digests)).hexdigest()[:16]}.npz"
        write_text(os.path.join(self.folder, "about.json"), self._about, DataError)
        with (
            atomic_path(os.path.join(self.folder, name), DataError) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, digests=np.frombuffer(b"".join(digests), np.uint8), answers=np.stack(rows))
        self._fresh.clear()


class Records:
    """Rows float32 (`width`,) by their place in one file, which several processes may read and write at once.

    A record holds the digest of the image that it is of, and a checksum: one that is torn, damaged or of another image
    counts as missing. Nothing is held in memory.
    """

    def __init__(self, cache: StrPath, about: Mapping[str, Any], width: int) -> None:
        self.folder, self._about = folder_of(cache, about)
        self._size = _HEAD.size + 4 * width
        self._file: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}

    def get(self, place: int, image: bytes) -> np.ndarray | None:
        """Return the row at `place` if it is of the bytes `image`, else None. Raises DataError: see `put`."""
        with self._at(place) as file:
            record = file.read(self._size)
        if len(record) < self._size:
            return None
        digest, check = _HEAD.unpack_from(record)
        row = record[_HEAD.size :]
        if digest != hashlib.sha256(image).digest() or check != zlib.crc32(row, zlib.crc32(digest)):
            return None
        return np.frombuffer(row, np.float32)

    def put(self, place: int, image: bytes, row: np.ndarray) -> None:
        """Write `row` to `place`. Raises DataError: the file cannot be opened, read or written."""
        digest, content = hashlib.sha256(image).digest(), row.astype(np.float32).tobytes()
        record = _HEAD.pack(digest, zlib.crc32(content, zlib.crc32(digest))) + content
        with self._at(place) as file:
            if file.write(record) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def _at(self, place: int) -> Iterator[BinaryIO]:
        """Give the file at the record of `place`; DataError for an OSError there."""
        path = os.path.join(self.folder, "records")
        try:
            if self._file is None:
                write_text(os.path.join(self.folder, "about.json"), self._about, DataError)
                with open(path, "ab"):  # makes an empty file, where there is none
                    pass
                self._file = open(path, "r+b", buffering=0)  # noqa: SIM115, as long as the process reads
            self._file.seek(place * self._size)
            yield self._file
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path}: {reason}; make room there, or name another folder by cache") from None


def _read_part(path: str) -> dict[bytes, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as part:
            digests, answers = part["digests"].reshape(-1, 32), part["answers"]
        if answers.dtype != np.float32 or answers.ndim != 2 or len(answers) != len(digests):
            raise ValueError(f"answers of shape {list(answers.shape)} to {len(digests)} images")
        if not np.isfinite(answers).all():
            raise ValueError("infinite numbers or none")
    # A file of one array is no archive, and has no such method: TypeError, AttributeError.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, and its answers are computed again") from None
    return {digest.tobytes(): row for digest, row in zip(digests, answers)}
