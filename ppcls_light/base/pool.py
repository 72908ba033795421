"""Processes that share out calls: `Pool`, of which no process outlives its caller, or is ended by its Ctrl-C."""

from __future__ import annotations

import ast
import contextlib
import inspect
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from types import ModuleType
from typing import Any, Callable, Dict

from .signals import interrupts_held


class Pool(ProcessPoolExecutor):
    """Processes that call functions; each calls `initialize(*arguments)` before the first.

    A script with `if __name__ == "__main__":` is run again in each, so that they have its classes; one without would
    begin everything anew there, and is not.
    """

    def __init__(self, workers: int, initialize: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._script = contextlib.nullcontext if _may_run_again(sys.modules["__main__"]) else _no_script
        with _safe_path():  # it starts the process that tracks semaphores
            super().__init__(workers, context, _begin_worker, (initialize, arguments))

    def submit(self, *call: Any, **named: Any) -> Future:
        with interrupts_held(), _safe_path(), self._script():  # it may start a process
            return super().submit(*call, **named)


def _may_run_again(main: ModuleType) -> bool:
    """Return whether the script that was started tests `__name__`, or has no source to tell."""
    try:
        body = ast.parse(inspect.getsource(main)).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return os.path.exists(getattr(main, "__file__", ""))  # not where it came by a pipe
    tests = [node.test for node in body if isinstance(node, ast.If)]
    return any(
        isinstance(part, ast.Name) and part.id == "__name__" for test in tests for part in ast.walk(test)
    )


_script_lock = threading.Lock()


@contextlib.contextmanager
def _no_script() -> Iterator[None]:
    """Let `multiprocessing` find no script that it would run in the processes it starts."""
    with _script_lock:
        main = vars(sys.modules["__main__"])
        kept: Dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None
        try:
            yield
        finally:
            main.update(kept)


_path_lock = threading.Lock()


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Keep the working folder out of the path of the Python that `multiprocessing` starts, from 3.11 on.

    The path of this process replaces it there, but not before much of the standard library is imported.
    """
    if getattr(sys.flags, "safe_path", True):
        yield
        return
    with _path_lock:
        os.environ["PYTHONSAFEPATH"] = "1"
        try:
            yield
        finally:
            del os.environ["PYTHONSAFEPATH"]


def _begin_worker(initialize: Callable[..., None], arguments: tuple) -> None:
    # Where signals cannot be held back (Windows), this is the earliest that a worker can ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.pop("PYTHONSAFEPATH", None)  # of `_safe_path`, not for what a worker starts
    initialize(*arguments)


def _end_with_parent() -> None:
    # A killed parent cannot tell its workers to stop: they would wait for work for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
