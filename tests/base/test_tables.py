import csv

import pytest

from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.errors import UserError


def test_markdown():
    assert markdown_table(("a", "b"), [(1, "x"), (2, "y")]) == "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n"


def test_csv_reads_back(tmp_path):
    rows = [["1", "a, b"], ["2", 'say "c"']]
    write_csv(tmp_path / "new/t.csv", ("n", "text"), rows)
    with open(tmp_path / "new/t.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["n", "text"], *rows]
    with pytest.raises(UserError, match="cannot write"):
        write_csv(tmp_path / "new/t.csv/t.csv", ("n",), [])
