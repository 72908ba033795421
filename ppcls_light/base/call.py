"""`CallProcess` and `call_in_process`: function calls in a subprocess that may crash, set flags or print."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from typing import Any, Callable, Dict

from ..errors import DataError, ExportError, UserError
from .processes import Caller, Child, ProcessEndedError


class CallProcess:
    """A process that calls functions, one after the other.

    They are of modules that can be imported by their names. `environment` has variables to set in addition; a call may
    take `patience` seconds, None: any. Raises UserError: no process can be started.
    """

    # Functions, configs, arrays and UserErrors go to and fro, which JSON has no words for: they are pickled. Both ends
    # of the pipe are processes of this package and this user, and nobody else has it; nothing that comes from a file or
    # a network is unpickled. A library that a harmful model took over could do by itself what a pickle can.

    def __init__(self, environment: Dict[str, str] | None = None, patience: float | None = None) -> None:
        self._patience = patience
        try:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            self._child = Child(__name__, environment, self._stderr)
        except OSError as error:
            raise UserError(
                f"no process can be started ({error.strerror or error}); raise the limits of this shell (ulimit -n, "
                "ulimit -u), or end other programs"
            ) from None

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have `function(*arguments)` called; `result` waits for it."""
        with contextlib.suppress(ProcessEndedError):  # `result` tells why
            self._child.send(None, pickle.dumps((function, arguments)))

    def result(self) -> Any:
        """Return the result of the call, or raise its UserError.

        Raises ProcessEndedError: the process ended; its text is the last line on stderr.
        """
        try:
            _, (block,) = self._child.receive(self._patience)
        except ProcessEndedError as end:
            self._stderr.seek(0)
            lines = self._stderr.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise ProcessEndedError(lines[-1], end.code) from None
        result = pickle.loads(block)
        if isinstance(result, UserError):
            raise result
        return result

    def end(self, at_once: bool = False) -> None:
        """Ask the process by SIGTERM to end, if the function answers that, or kill it; `result` returns or raises."""
        self._child.end(at_once)

    def close(self) -> None:
        """End the process."""
        self._child.close()
        self._stderr.close()


def call_in_process(
    function: Callable[..., Any], *arguments: Any, task: str, environment: Dict[str, str] | None = None
) -> Any:
    """Return `function(*arguments)` of a `CallProcess` with `environment`.

    `task` completes the message "Paddle Inference cannot run the exported model". Raises DataError: it raised one,
    about a file of the user's. ExportError: it raised another UserError, whose text ends the message; or its process
    ended, whose exit code and last line on stderr do.
    """
    with contextlib.closing(CallProcess(environment)) as process:
        process.start(function, *arguments)
        try:
            return process.result()
        except ProcessEndedError as end:
            raise ExportError(f"{task} (exit {end.code}): {end}") from None
        except DataError:
            raise
        except UserError as error:
            raise ExportError(f"{task}: {error}") from None


def main() -> None:
    from . import missing  # here: it takes over `sys.excepthook`, which is the user's in other processes

    caller = Caller()
    while True:
        _, (block,) = caller.receive()
        try:
            function, arguments = pickle.loads(block)
            result = function(*arguments)
        except UserError as error:
            result = error
        except ModuleNotFoundError as error:
            line = missing.line(error)
            if line is None:
                raise
            result = UserError(line)
        caller.send(None, pickle.dumps(result))


if __name__ == "__main__":
    main()
