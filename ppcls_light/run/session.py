"""Jobs inside of a process that goes on after them: a script or a notebook."""

from __future__ import annotations

import contextlib
import signal
from typing import Iterator

from ..base.quiet import quiet_paddle
from ..config import Config


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Import Paddle quietly in the block, and leave the log of the package as it was found."""
    quiet_paddle()
    from ..engine.log import logging_as_found

    with logging_as_found():
        yield


def run_training(config: Config) -> str:
    """Train as `config` says; return its output folder, also when Ctrl-C has stopped the run and it is saved.

    Raises KeyboardInterrupt: Ctrl-C came before there was anything to save, or twice. Stopped: SIGTERM.
    """
    with session():
        from .. import jobs
        from ..engine.trainer import Stopped

        try:
            jobs.train(config)
        except Stopped as stopped:
            if stopped.signal != signal.SIGINT:
                raise
    return config.Global.output_dir
