"""Jobs inside of a process that goes on after them: a script or a notebook."""

from __future__ import annotations

import contextlib
import logging
import signal
from typing import Any, Callable, Iterator

from ..config import Config
from ..prediction.predictor import Predictor


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Leave the log of the package as it was found; in the block only a job that sets it up tells more than warnings.

    A library that gives the root logger a handler would else have every line of the package.
    """
    from ..engine.log import LOGGER, logging_as_found

    with logging_as_found():
        if LOGGER.level == logging.NOTSET:
            LOGGER.setLevel(logging.WARNING)
        yield


def stoppable(training: Callable[[], str]) -> str:
    """Return the output folder that `training` returns, or that of its run when Ctrl-C has stopped and saved it.

    Raises KeyboardInterrupt: Ctrl-C came when there was nothing to save, or twice. Stopped: SIGTERM.
    """
    with session():
        from ..engine.trainer import Stopped

        try:
            return training()
        except Stopped as stopped:
            if stopped.signal != signal.SIGINT:
                raise
            return stopped.folder


def run_training(config: Config) -> str:
    """Train as `config` says; return its output folder, see `stoppable`."""

    def training() -> str:
        from .. import jobs

        jobs.train(config)
        return config.Global.output_dir

    return stoppable(training)


def trained_predictor(config: Config, **options: Any) -> Predictor:
    """Return a Predictor of the network of `config` with its trained weights, see `engine.trained`."""
    with session():
        from ..engine import trained

        return trained.trained_predictor(config, **options)
