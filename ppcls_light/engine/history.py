"""metrics.jsonl: measurements of a training run, one JSON object per line, appended while it runs.

A row is
    {"split": "train" | "train_avg" | "eval", "epoch", "step", "values": {name: number}, "lr",
     "images_per_second", "data_wait", "time"}
`train` rows are the printed steps and hold the means since the epoch began, `train_avg` those of a whole
epoch. `epoch` counts epochs done, 2.5 in the middle of the third, and `step` batches done. `data_wait` is
the share of the time, 0 to 1, spent waiting for the reader, and `time` seconds since 1970. What a row does
not have, or a number that is not finite, is null.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from typing import Any, Iterable, Mapping, TextIO

from ..base.files import write_text
from ..errors import UserError

FILE_NAME = "metrics.jsonl"
logger = logging.getLogger(__name__)


class History:
    """File `path`, open for more rows. A full disk is a warning: it does not end a run.

    `epoch` counts the epochs that the run has done, with the fraction of the one it is in. Rows beyond it are of
    updates that a crash took back, and leave the file; at 0 the file of the run before becomes `path`.old. Without
    `evaluated` the evaluation at `epoch` comes again; its row leaves.
    """

    def __init__(self, path: str, epoch: float = 0, evaluated: bool = True) -> None:
        self._path = path
        self._file: TextIO | None = None
        try:
            _rewind(path, epoch, evaluated)
            self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed by close()
        except (OSError, UserError) as problem:  # the second is of the file that is written anew
            self._lost(problem)

    def append(self, split: str, epoch: float, step: int, values: Mapping[str, float], **others: Any) -> None:
        """Write a row; `others` are its remaining keys."""
        if self._file is None:
            return
        row = {"split": split, "epoch": epoch, "step": step, "values": values, **others}
        try:
            self._file.write(json.dumps(_finite(row), allow_nan=False) + "\n")
        except OSError as problem:
            self._lost(problem)

    def close(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as problem:
                self._lost(problem)
            self._file = None

    def _lost(self, problem: Exception) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        reason = getattr(problem, "strerror", None) or problem
        logger.warning("cannot write %s: %s; the run goes on without", self._path, reason)


def read_history(path: str) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl; a line that is none, such as one that a crash cut off, is left out.

    Raises OSError: the file cannot be read.
    """
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif number < len(lines):
            logger.warning("%s:%d: left out a damaged line", path, number)
    return rows


def by_epoch(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the `rows` as columns with a number for each epoch that was finished, NaN where there is none.

    "epoch" counts from 1. The evaluation's columns have its names, such as "loss" and "top1", and those of the
    training's means "train_" before them; "lr" is the last rate in the log of the epoch. An evaluation that was
    repeated counts once.
    """
    epochs: dict[int, dict[str, float]] = {}
    for row in rows:
        epoch = math.ceil(row["epoch"])
        if row.get("split") == "train":
            numbers: dict[str, Any] = {"lr": row.get("lr")}
        elif row.get("split") in ("train_avg", "eval"):
            before = "train_" if row["split"] == "train_avg" else ""
            numbers = {before + name: value for name, value in row["values"].items()}
        else:
            continue
        known = epochs.setdefault(epoch, {})
        known.update((name, value) for name, value in numbers.items() if is_finite_number(value))
    done = [epoch for epoch in sorted(epochs) if set(epochs[epoch]) - {"lr"}]
    names = dict.fromkeys(name for epoch in done for name in epochs[epoch])
    columns = {name: [epochs[epoch].get(name, math.nan) for epoch in done] for name in names}
    return {"epoch": [float(epoch) for epoch in done], **columns}


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    epoch = row.get("epoch") if isinstance(row, dict) else None
    return row if is_finite_number(epoch) and isinstance(row.get("values"), dict) else None


def is_finite_number(value: object) -> bool:
    """Return whether `value`, read from JSON, is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max  # `math.isfinite` raises for a whole number of 400 digits


def _rewind(path: str, epoch: float, evaluated: bool) -> None:
    if not os.path.exists(path):
        return
    if not epoch:
        os.replace(path, f"{path}.old")
        return

    def stays(row: dict[str, Any]) -> bool:
        again = row.get("split") == "eval" and not evaluated
        return row["epoch"] < epoch or (row["epoch"] == epoch and not again)

    rows = [row for row in read_history(path) if stays(row)]
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def _finite(value: Any) -> Any:
    """Return `value` with null for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
