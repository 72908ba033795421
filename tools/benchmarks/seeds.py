"""Trainings from several seeds: those that are in a CSV are not run again, and a table has n, mean and spread."""

import csv
import os
import statistics
import sys

from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.bench import harness
from ppcls_light.errors import ConfigError

RESULTS = ("seed", "top-1", "minutes", "machine")


def run_all(path, columns, runs):
    """Make the trainings of `runs` that are not in the CSV `path`, adding each to it, and print the table of all.

    A run is (key, seed, function): the key has a text for each of `columns`, and the function returns (top-1 in
    percent, minutes).
    """
    columns, machine = tuple(columns), harness.machine()
    rows, found = read_rows(path, (*columns, *RESULTS)), {}
    for key, seed, train in runs:
        identity = [*key, str(seed)]
        row = next((row for row in rows if row[: len(identity)] == identity), None)
        if row is None:
            print(" ".join(identity), "...", file=sys.stderr)
            row = [*identity, *(f"{number:.2f}" for number in train()), machine]
            rows.append(row)
            write_csv(path, (*columns, *RESULTS), rows)
        found.setdefault(key, []).append((float(row[-3]), float(row[-2])))
    print(f"{machine}\n\n{summary(columns, found)}", end="")


def read_rows(path, columns):
    """Return the rows of a CSV with these columns, [] where there is no file. Raises ConfigError: it has others."""
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != columns:
        raise ConfigError(f"{path} has other columns than {', '.join(columns)}; give another --out")
    return rows[1:]


def summary(columns, found):
    """Return the Markdown table of {key: [(top-1 in percent, minutes), ...]}, a key being cells of `columns`."""
    lines = []
    for key, runs in found.items():
        top1, minutes = zip(*runs)
        spread = f"{min(top1):.1f} to {max(top1):.1f}"
        lines.append((*key, len(runs), f"{statistics.mean(top1):.1f}", spread, f"{max(minutes):.0f}"))
    return markdown_table((*columns, "n", "top-1 (%)", "lowest to highest", "minutes"), lines)
