"""Atomic file writing, moving old files to `previous_N`, bounded reading, file locks and SHA-256 checksums."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import logging
import os
import platform
import re
import shutil
import stat
import tempfile
import zlib
from typing import IO, Any, Collection, Iterable, Iterator, Mapping, Sequence, Union

from ..errors import DataError, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

StrPath = Union[str, "os.PathLike[str]"]

logger = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-([1-9]\d{0,9})\.tmp", re.DOTALL)
MAX_TEXT = 1 << 30  # bytes of a list of images or classes: 16 million lines
_KINDS = (
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)
_PICTURES = (".png", ".svg")  # drawn from the numbers beside them, and never twice the same to the byte


@contextlib.contextmanager
def atomic_path(path: StrPath, error: type[UserError] = UserError, keep: bool = False) -> Iterator[str]:
    """Give a temporary path in the folder of `path`; it replaces `path` when the block ends without error.

    A reader sees the old file or the new one, never a part; the data are on disk before the rename. Files that
    a killed process left in the folder are removed.
    With `keep` an old file of other content is set aside instead, see `set_aside`, with a warning.
    Missing folders are made. Raises `error` (a UserError class) when the file cannot be written.
    """
    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        # The rename would put a file in the place of a device or a pipe: root could lose /dev/null.
        raise error(f"cannot write {path}: it is no ordinary file; give another name")
    temporary = os.path.join(folder, temporary_name(name))
    try:
        os.makedirs(folder, exist_ok=True)
        remove_orphans(folder)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if keep:
            _keep_others(folder, {name: temporary}, error)
        os.replace(temporary, path)
    except OSError as problem:
        raise error(f"cannot write {path}: {problem.strerror or problem}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def results(
    folder: StrPath, error: type[UserError] = UserError, optional: Collection[str] = ()
) -> Iterator[str]:
    """Give an empty folder to write results into; they move to `folder` when the block ends without error.

    Files of the same names and content are replaced. If the content of one differs, all of them are set aside, see
    `set_aside`, with a warning; the content of pictures counts as that of the files beside them. So does one of the
    `optional` names that is there and not among the new files. Other files stay.
    """
    folder = os.path.abspath(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        remove_orphans(folder)
        with tempfile.TemporaryDirectory(prefix=".results", suffix=temporary_name(), dir=folder) as scratch:
            yield scratch
            fresh = {name: os.path.join(scratch, name) for name in sorted(os.listdir(scratch))}
            _keep_others(folder, fresh, error, optional)
            for name, path in fresh.items():
                os.replace(path, os.path.join(folder, name))
    except OSError as problem:
        raise error(f"cannot write {folder}: {problem.strerror or problem}; choose another folder") from None


def temporary_name(name: str = "") -> str:
    """Return a name for a file or folder that is to be renamed or removed by this process."""
    return f".{name}.{_machine()}-{os.getpid()}.tmp"


def remove_orphans(folder: StrPath) -> None:
    """Remove files and folders with a `temporary_name` of a process of this machine that has ended."""
    if os.name == "nt":  # os.kill would end a process there
        return
    with os.scandir(folder) as entries:
        named = [(entry.path, _TEMPORARY.fullmatch(entry.name)) for entry in entries]
    for path, match in named:
        if not match or match[1] != _machine():
            continue
        try:
            os.kill(int(match[2]), 0)
        except (ProcessLookupError, OverflowError):
            logger.info("%s: left by a process that was killed; removed", path)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        except OSError:  # it runs, and is another user's
            pass


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _keep_others(
    folder: str, fresh: Mapping[str, str], error: type[UserError], optional: Collection[str] = ()
) -> None:
    """Move the files that `fresh`, {name: path}, would replace to `previous_N`, unless the contents are equal.

    Those of the `optional` names that are there without being in `fresh` are of others, too.
    """
    gone = [name for name in optional if name not in fresh and os.path.lexists(os.path.join(folder, name))]
    there = [*(name for name in fresh if os.path.lexists(os.path.join(folder, name))), *gone]
    told = [name for name in there if not name.endswith(_PICTURES)]
    if not gone and all(filecmp.cmp(fresh[name], os.path.join(folder, name), shallow=False) for name in told):
        return
    logger.warning("%s of something else moved to %s", ", ".join(there), set_aside(folder, there, error))


def require_writable(path: StrPath, error: type[UserError] = UserError) -> None:
    """Raise `error` if `path` cannot be written; to be called before long work."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise error(f"cannot write {path}: it is no ordinary file; give another name")
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise error(
            f"cannot write {path}: {folder}: {problem.strerror or problem}; choose another folder"
        ) from None


def write_text(path: StrPath, text: str, error: type[UserError] = UserError, keep: bool = False) -> None:
    """Write `text` as UTF-8 with "\\n" line ends to `path`, atomically; `keep` as in `atomic_path`.

    Text that UTF-8 cannot hold, such as a file name of broken bytes, becomes its escape, which JSON reads back.
    """
    with (
        atomic_path(path, error, keep) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.write(text)


def open_plain(path: StrPath | int, **options: Any) -> IO[Any]:
    """Open an ordinary file to read it, like `open` with mode "rb" (or `options`), which never waits.

    Raises OSError: also for a pipe, a socket or a device, which may have no end; they are not opened.
    """
    return open(path, **{"mode": "rb", **options}, opener=_open_plain)


def _open_plain(path: str, flags: int) -> int:
    _require_plain(os.stat(path))  # opening alone makes some devices do something
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _require_plain(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_plain(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "special file")
        raise OSError(errno.EINVAL, f"it is a {kind}, not an ordinary file")


def read_plain(path: StrPath, most: int = MAX_TEXT) -> bytes:
    """Return the bytes of an ordinary file. Raises DataError naming it, also for one of more than `most` bytes."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = (file.read() or b"") if size <= most else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if max(size, len(data)) > most:
        raise DataError(
            f"{path}: has {max(size, len(data)):,} bytes, and {most:,} are the limit; is it the right file?"
        )
    return data


def read_utf8(path: StrPath) -> bytes:
    """Return the content of a UTF-8 text file as bytes, without byte order mark. Raises DataError."""
    data = read_plain(path)
    data = data[3:] if data.startswith(b"\xef\xbb\xbf") else data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: this is not UTF-8 text; save the file as UTF-8") from None
    return data


def checksum(path: StrPath, error: type[UserError] = UserError) -> str:
    """Return the SHA-256 of a file, "" when it is not there. Raises `error` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from None
    return digest.hexdigest()


def set_aside(folder: StrPath, names: Iterable[str], error: type[UserError] = UserError) -> str:
    """Move the files or folders `names` of `folder`, in this order, into a new `folder/previous_N`; return that.

    N is one more than the highest there is. Each is renamed, so whatever moment the process dies at, every file
    is whole and in one of the two places. Raises `error` (a UserError class) when one cannot be moved.
    """
    try:
        taken = (re.fullmatch(r"previous_(\d{1,9})", name) for name in os.listdir(folder))
        number = 1 + max((int(match[1]) for match in taken if match), default=0)
        target = os.path.join(folder, f"previous_{number}")
        os.mkdir(target)
        for name in names:
            os.rename(os.path.join(folder, name), os.path.join(target, name))
    except OSError as problem:
        raise error(
            f"cannot move {problem.filename} out of the way: {problem.strerror}; move it by hand, or choose "
            "another folder"
        ) from None
    return target


def hold(file: IO[Any]) -> bool | None:
    """Lock the open `file` until it is closed; the system lets go of it when the process dies, however it does.

    Returns:
        True: it is locked. False: another process that still runs holds it. None: the system, or the file system, has
        no locks, and nothing was checked.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def short_names(folders: Sequence[StrPath], taken: Collection[str] = ()) -> list[str]:
    """Return the shortest trailing part of each path that is unique and not in `taken`."""
    parts = [os.path.abspath(folder).split(os.sep) for folder in folders]
    names: list[str] = []
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(set(map(tuple, parts))) and not set(names) & set(taken):
            break
    return names
