"""Training of a trial, in a process of its own."""

from __future__ import annotations

import os
import signal
from typing import NoReturn, Sequence

from .. import jobs
from ..config import load_config
from ..engine.checkpoint import latest_states
from ..engine.history import FILE_NAME, is_finite_number, read_history
from ..errors import UserError
from .settings import OF_A_TRIAL, override

_NO_EPOCHS = override("Global.save_interval", 10**9)  # a trial keeps best_model and latest alone


def train(file: str, overrides: Sequence[str]) -> float | None:
    """Train as the config `file` with `overrides` says, from where it was stopped; return the best metric.

    SIGTERM ends it at any time, in an epoch after the state was saved; returned is None then.

    Raises UserError: of the training; or no evaluation gave a number.
    """

    def end(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        config = load_config(file, [*overrides, _NO_EPOCHS])
        jobs.train(config)
    except KeyboardInterrupt:
        return None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    best = (latest_states(config.Global.output_dir) or {}).get("best")
    if best is None or not is_finite_number(best):
        raise UserError(f"{config.Global.output_dir}: no evaluation gave a number; look into its train.log")
    return float(best)


def in_folder(folder: str) -> list[str]:
    """Return the overrides by which a training writes into `folder` alone, and goes on with what is there."""
    places = (folder, os.path.join(folder, "inference"), "auto")
    return [override(key, value) for key, value in zip(OF_A_TRIAL, places)]


def course(folder: str, metric: str) -> dict[int, float]:
    """Return {epochs done: the best `metric` so far} of the training in `folder`; {} before its first evaluation."""
    try:
        rows = read_history(os.path.join(folder, FILE_NAME))
    except OSError:
        return {}
    best: dict[int, float] = {}
    for row in rows:
        value = row["values"].get(metric)
        if row.get("split") == "eval" and is_finite_number(value):
            best[round(row["epoch"])] = max([value, *best.values()])
    return best
