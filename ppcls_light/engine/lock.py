"""One training run at a time in an output folder: two would overwrite each other's checkpoints.

Two signs, for neither holds everywhere. The system's lock on `.lock` ends with the process that has it, however that
ends, and holds on local disks. The line in `.lock` is rewritten by the run every 5 s: where the lock says nothing
about the process that wrote it, on another machine or a disk without locks, a start watches the line for 15 s and
takes it for left behind if it stays as it is. No clocks are compared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import sys
import threading
import time
from typing import IO, Any, Iterator

from ..base.files import hold
from ..errors import ConfigError
from .log import LOGGER

NAME = ".lock"
BEAT = 5.0  # seconds between two signs of life
WATCHED = 3  # beats in which a run that lives has given one


@contextlib.contextmanager
def sole_run(folder: str) -> Iterator[None]:
    """Hold `folder/.lock` until the block ends.

    A process that was suspended while another start took the folder over ends at once, with exit code 2, when it
    notices: the files are no longer its own.

    Raises ConfigError: another process that still runs holds it, or the folder cannot be written.
    """
    path = os.path.join(folder, NAME)
    with _lock_file(folder) as file:
        locked = hold(file)
        left = _read(path)
        if locked is False:
            raise _refused(folder, left)
        if left and not (locked and _machine_of(left) == _machine()):
            LOGGER.info(
                "%s: left by a run %s; looking for %g s for a sign of life",
                path,
                _place(left),
                BEAT * WATCHED,
            )
            if _changes(path, left, BEAT * WATCHED):
                raise _refused(folder, left)
        sign = _Sign(path)
        if not locked and _changes(path, sign.text, BEAT):
            raise _refused(folder, _read(path))  # started at the same time, and wrote last
        with sign:
            yield


def was_used(folder: str) -> bool:
    """Return whether a run has ever held `folder`."""
    return os.path.exists(os.path.join(folder, NAME))


class _Sign:
    """Line in the lock file; a context manager in which it changes every `BEAT` seconds."""

    def __init__(self, path: str) -> None:
        self._path, self._beats, self._token = path, 0, secrets.token_hex(8)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lock", daemon=True)
        self._write(self.text)

    @property
    def text(self) -> str:
        return f"{self._token} {self._beats:010d} {_machine()} {os.getpid()} {platform.node()}\n"

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if not self._taken_over():
            self._write("")

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            if self._taken_over():
                sys.stderr.write(
                    f"error: Global.output_dir: {self._path}: another run {_place(_read(self._path))} took the folder "
                    "over while this one was suspended; this one ends\n"
                )
                sys.stderr.flush()
                os._exit(2)
            self._beats += 1
            self._write(self.text)

    def _taken_over(self) -> bool:
        line = _read(self._path)
        return bool(line) and not line.startswith(self._token)

    def _write(self, text: str) -> None:
        # In place, and of one length: on a full disk, too. Opened each time, since a network disk passes it on then.
        with contextlib.suppress(OSError), open(self._path, "r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def _read(path: str) -> str:
    """Return the line of a lock file, "" where no run is named there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1000)
    except OSError:
        return ""


def _changes(path: str, text: str, seconds: float) -> bool:
    """Return whether the line of a lock file becomes another than `text` within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(seconds, 0.5) / 5)
        line = _read(path)
        if line != text:
            return bool(line)
    return False


def _machine() -> str:
    """Return an identifier of this machine since its start."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return platform.node().replace(" ", "_") or "unknown"


def _machine_of(line: str) -> str:
    return (line.split() + [""] * 3)[2]


def _place(line: str) -> str:
    parts = line.split(maxsplit=4)
    return f"(process {parts[3]} on {parts[4].strip()})" if len(parts) == 5 else "(of an unknown machine)"


def _refused(folder: str, line: str) -> ConfigError:
    by = f" {_place(line)}" if line else ""
    return ConfigError(
        f"Global.output_dir: another run{by} is writing to {folder}; wait for it, stop it, "
        "or choose another folder: -o Global.output_dir=FOLDER"
    )


def _lock_file(folder: str) -> IO[Any]:
    try:
        os.makedirs(folder, exist_ok=True)
        return open(os.path.join(folder, NAME), "a")
    except OSError as problem:
        raise ConfigError(
            f"Global.output_dir: {folder}: cannot be written: {problem.strerror}; choose another folder"
        ) from None
