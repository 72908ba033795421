"""Trials of a search, and their record: `search.json` in its folder, from which a search that was stopped goes on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Collection, Mapping

from ..base.files import read_plain, write_text
from ..errors import ConfigError

RECORD = "search.json"
DEFAULT = "default"  # the trial of the config as it is


@dataclass(frozen=True)
class Trial:
    """Training with one choice of values: the config `file` with the `overrides`.

    `values` are the {search_key: value} that tell it apart from the others of its `stage`.
    """

    name: str
    stage: str
    file: str
    overrides: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Its values in a line."""
        own = ", ".join(f"{key} {shown(value)}" for key, value in self.values.items())
        return own or " ".join([self.file, *self.overrides])


@dataclass
class Row:
    """Trial, and what became of it.

    `state` is running, complete, pruned or failed; `score` the best metric, None before and for a failed one; `folder`
    the one of its training, below that of the search; `reason` why it failed, or which trial it repeats.
    """

    trial: Trial
    state: str
    folder: str
    score: float | None = None
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state != "running"


class Record:
    """Rows of a search in the order in which the trials began, kept in `folder`/search.json.

    `described` is what the trials depend on, {name: plain value}. Raises ConfigError: the folder is of another search.
    """

    def __init__(self, folder: str, described: Mapping[str, Any]) -> None:
        self._path, self._described = os.path.join(folder, RECORD), json.loads(json.dumps(described))
        self.rows: dict[str, Row] = {}
        if os.path.exists(self._path):
            self._read(folder)

    def _read(self, folder: str) -> None:
        try:
            kept = json.loads(read_plain(self._path))
            rows = [Row(**{**row, "trial": _trial(row["trial"])}) for row in kept["rows"]]
            before = dict(kept["described"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{self._path}: is no record of a search; choose another folder: -o output_dir=FOLDER"
            ) from None
        changed = [
            name for name in {**before, **self._described} if before.get(name) != self._described.get(name)
        ]
        if changed:
            raise ConfigError(
                f"output_dir: {folder} holds a search with another {changed[0]}; search elsewhere: "
                "-o output_dir=FOLDER, or have that one moved to previous_N in it: --overwrite"
            )
        self.rows = {row.trial.name: row for row in rows}

    def forget_failures(self, trials: Collection[Trial]) -> None:
        """Drop the rows of `trials` where all of them failed, which ended a search: what was wrong may be put right."""
        rows = [self.rows.get(trial.name) for trial in trials]
        if all(row is not None and row.state == "failed" for row in rows):
            for trial in trials:
                del self.rows[trial.name]

    def keep(self, row: Row) -> None:
        """Add `row`, or put it in the place of that of the same trial, and write the record."""
        self.rows[row.trial.name] = row
        kept = {"described": self._described, "rows": [asdict(row) for row in self.rows.values()]}
        write_text(self._path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def shown(value: Any) -> str:
    """Return a value of a trial for tables and pictures."""
    return (
        f"{value:.10g}"
        if isinstance(value, float)
        else value
        if isinstance(value, str)
        else json.dumps(value)
    )


def _trial(values: Mapping[str, Any]) -> Trial:
    return Trial(**{**values, "overrides": tuple(values["overrides"])})
