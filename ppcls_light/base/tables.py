"""Formatting of rows as a Markdown table, and writing of them as a CSV file."""

from __future__ import annotations

import csv
from typing import Iterable, Sequence

from .files import StrPath, atomic_path


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table, ending in a newline; cells are turned into text."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_csv(path: StrPath, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write `columns` as the header and then `rows` to `path`, atomically. Raises UserError."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
