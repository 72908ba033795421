"""Child processes that answer messages: `Child`, a module of this package in a process, and its `Caller` there.

`call.CallProcess` is made of a `Child`; `pool.Pool` shares out calls. None of them takes modules from the working
folder for the interpreter's own, is ended by a Ctrl-C that its caller answers, or outlives its caller, however that
ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Dict

from .signals import STOPS, interrupts_held

# Without the working folder, in which Python looks first and where there may be modules of others (`-P` of Python
# 3.11), and with the folder of this package: a checkout works without being installed.
_START = (
    "import sys; root, path = sys.argv.pop(1), [*filter(None, sys.path)]; "
    "sys.path[:] = path if root in path else [root, *path]; "
    "from ppcls_light.base.processes import run_main; run_main()"
)
_ROOT = str(Path(__file__).resolve().parents[2])
_ENDING_SECONDS = 5  # between the last output of a process and its end


def run_main() -> None:
    """Run the module of a `Child`, in its process."""
    for number in STOPS:  # sent to a whole group; the caller has work to finish
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"),), daemon=True).start()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)


_messages: queue.SimpleQueue = queue.SimpleQueue()


def _listen(caller: IO[bytes]) -> None:
    """Queue the caller's messages in a thread, and exit this process as soon as the caller ends."""
    with contextlib.suppress(EOFError):
        while True:
            _messages.put(_read(caller))
    os._exit(0)


class ProcessEndedError(Exception):
    """A child has ended, or was ended because it took too long; `code` is its exit code, None without a child."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Child:
    """A module of this package in a process of its own, which answers by `Caller`; one call at a time.

    A message is JSON, which executes nothing, and any number of blocks of bytes after it. `environment` has variables
    to set in addition; `stderr` is as of `subprocess.Popen`. Raises OSError: no process can be started.
    """

    def __init__(
        self, module: str, environment: Dict[str, str] | None = None, stderr: int | IO[bytes] | None = None
    ) -> None:
        with interrupts_held():
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, _ROOT, module],
                stdin=subprocess.PIPE,  # ends with this process
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self.pid = self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Any, *blocks: Any) -> None:
        """Send what `json.dumps` takes, and objects with the buffer interface. Raises ProcessEndedError."""
        try:
            _write(self._questions, message, blocks)
        except (OSError, ValueError):
            raise self._ended() from None

    def receive(self, seconds: float | None = None) -> tuple[Any, list[bytes]]:
        """Wait for the answer, `seconds` at most; return it and its blocks. Raises ProcessEndedError."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(seconds or 0, end)
        if seconds is not None:
            watch.start()
        try:
            return _read(self._answers)
        except (OSError, ValueError, EOFError):
            raise self._ended(f"no answer within {seconds:g} s" if late.is_set() else None) from None
        finally:
            watch.cancel()

    def _ended(self, reason: str | None = None) -> ProcessEndedError:
        try:
            code = self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return ProcessEndedError(reason or f"exit code {code}", code)

    def end(self, at_once: bool = False) -> None:
        """Ask the process by SIGTERM to end, or kill it; whoever waits for its answer is told."""
        if at_once:
            self._process.kill()
        else:
            self._process.terminate()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Let go of a process that is another one's child."""
        self._process.returncode = self._process.returncode or 0
        for pipe in (self._questions, self._answers):
            with contextlib.suppress(OSError):  # what was not written yet
                pipe.close()


class Caller:
    """The caller of this process, which it made as a `Child`; what libraries print goes to stderr."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def receive(self) -> tuple[Any, list[bytes]]:
        """Wait for a message; return it and its blocks."""
        return _messages.get()

    def send(self, message: Any, *blocks: Any) -> None:
        """Send the answer and its blocks of bytes to the caller, in the format of `Child.send`."""
        _write(self._answers, message, blocks)


def _write(file: IO[bytes], message: Any, blocks: Sequence[Any]) -> None:
    views = [memoryview(block).cast("B") for block in blocks]
    file.write(json.dumps([message, list(map(len, views))]).encode() + b"\n")
    for view in views:
        file.write(view)
    file.flush()


def _read(file: IO[bytes]) -> tuple[Any, list[bytes]]:
    line = file.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message, sizes = json.loads(line)
    blocks = [file.read(size) for size in sizes]
    if list(map(len, blocks)) != sizes:
        raise EOFError
    return message, blocks


def output_of(command: Sequence[str], seconds: float = 10) -> str | None:
    """Return what a short command of the system prints, without the last line end; None where it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout.rstrip("\n")
