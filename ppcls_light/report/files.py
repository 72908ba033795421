"""Files that the reports of evaluations share: summary.json, tables, card.json."""

from __future__ import annotations

import contextlib
import json
import math
import os
from typing import Any, Iterator, Mapping, Sequence, Tuple

from ..base.files import results, write_text
from ..base.tables import write_csv

Table = Tuple[Sequence[str], Iterator[Sequence[object]]]  # columns, rows
PAGE = "report.html"
# Files that a report may lack: another one's are set aside.
_OF_REPORTS = (
    *("card.json", "label_next.csv", "roc.csv", "label_errors.csv", "precision_recall.csv"),
    *("per_class.csv", "average_precision.csv", "reliability.csv", "thresholds.csv"),
    "per_tag.csv",
    *(
        f"{stem}.{suffix}"
        for stem in ("confusion_matrix", "cooccurrence")
        for suffix in ("csv", "png", "svg")
    ),
)


@contextlib.contextmanager
def report_folder(
    folder: str, summary: Mapping[str, float], tables: Mapping[str, Table], card: Mapping[str, Any] | None
) -> Iterator[str]:
    """Give an empty folder with summary.json, the tables by name and card.json; its files move to `folder` in the end.

    Those of another evaluation that are there are set aside, see `files.results`.
    """
    with results(folder, optional=_OF_REPORTS) as scratch:
        _write_json(scratch, "summary.json", summary)
        for name, (columns, rows) in tables.items():
            write_csv(os.path.join(scratch, name), columns, rows)
        if card is not None:
            _write_json(scratch, "card.json", card)
        yield scratch


def _write_json(folder: str, name: str, content: Mapping[str, Any]) -> None:
    """Write a file of JSON, which has no NaN: a number that is undefined is null there."""
    defined = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in content.items()
    }
    write_text(os.path.join(folder, name), json.dumps(defined, indent=2, ensure_ascii=False) + "\n")


def cell(value: float) -> int | str:
    """Return a number as text, an undefined one as an empty cell."""
    if isinstance(value, int):
        return value
    return "" if math.isnan(value) else f"{value:.5f}"
