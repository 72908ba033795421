"""A function called in a process of its own, which it may end, litter with flags or fill with output."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from typing import Any, Callable, Dict

from ..errors import ExportError, UserError
from .processes import Caller, Child, ProcessEndedError, last_line


def call_in_process(
    function: Callable[..., Any], *arguments: Any, task: str, environment: Dict[str, str] | None = None
) -> Any:
    """Return `function(*arguments)` of a new process.

    Args:
        function: of a module that can be imported by its name; its arguments and its result can be pickled.
        task: completes the message "Paddle Inference cannot run the exported model".
        environment: variables to set in addition.

    Raises:
        ExportError: it raised a UserError, whose text ends the message; or its process ended, whose exit code and last
            line on stderr do.
    """
    with (
        tempfile.TemporaryFile() as stderr,
        contextlib.closing(Child(__name__, environment, stderr)) as child,
    ):
        try:
            child.send(None, pickle.dumps((function, arguments)))
            _, (block,) = child.receive()
        except ProcessEndedError as end:
            raise ExportError(f"{task} (exit {end.code}): {last_line(stderr)}") from None
    answer = pickle.loads(block)
    if isinstance(answer, UserError):
        raise ExportError(f"{task}: {answer}")
    return answer


def main() -> None:
    caller = Caller()
    _, (block,) = caller.receive()
    try:
        function, arguments = pickle.loads(block)
        answer = function(*arguments)
    except UserError as error:
        answer = error
    caller.send(None, pickle.dumps(answer))


if __name__ == "__main__":
    main()
