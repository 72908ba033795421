import argparse
import csv
import functools
import runpy
import sys

import pytest

from ppcls_light import benchmark
from ppcls_light.errors import UserError


def appending(tmp_path, letter):
    """Return a case that appends `letter` to the file log at each call."""
    script = tmp_path / f"{letter}.py"
    script.write_text(f"open({str(tmp_path / 'log')!r}, 'a').write({letter!r})\n")
    return benchmark.Case(functools.partial, (runpy.run_path, str(script)))


def test_cases_take_turns_after_their_warm_up(tmp_path):
    cases = {letter: appending(tmp_path, letter) for letter in "ab"}
    medians = benchmark.measure(cases, rounds=2, runs=3)
    assert (tmp_path / "log").read_text() == "aaaaabbbbb" + "aaabbb" * 2
    assert list(medians) == ["a", "b"]
    assert all(len(times) == 2 and min(times) > 0 for times in medians.values())


def test_a_case_that_fails_ends_the_measurement(tmp_path):
    cases = {
        "good": appending(tmp_path, "a"),
        "bad": benchmark.Case(functools.partial, (runpy.run_path, "no")),
    }
    with pytest.raises(UserError, match="the process that times bad ended"):
        benchmark.measure(cases, rounds=1, runs=1)


def test_the_machine_cases_run_with_the_threads_asked_for():
    cases = {
        "product": benchmark.Case(benchmark.matrix_product, (32, 2)),
        "copy": benchmark.Case(benchmark.array_copy, (1 << 16, 2)),
    }
    assert set(benchmark.measure(cases, rounds=1, runs=1)) == set(cases)


def test_the_matrix_product_refuses_a_process_in_which_threads_are_settled():
    assert "numpy" in sys.modules
    with pytest.raises(RuntimeError, match="thread count"):
        benchmark.matrix_product(32, 1)


def test_summary():
    assert benchmark.summary([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_counts_are_positive(text):
    assert benchmark.positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="whole number >= 1"):
        benchmark.positive(text)


def test_rows_carry_what_they_depend_on(tmp_path):
    path = tmp_path / "rows.csv"
    arguments = benchmark.tool_parser("").parse_args(["--rounds", "3", "--csv", str(path)])
    benchmark.write_rows(arguments, ("name", "ms"), [("a", 1), ("b", 2)], threads=2)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = {"threads": "2", "rounds": "3", "runs": "30", "environment": benchmark.environment()}
    assert rows == [{"name": "a", "ms": "1", **expected}, {"name": "b", "ms": "2", **expected}]


@pytest.mark.slow
def test_the_tool_measures_a_network_folded_and_not(root, tmp_path, monkeypatch):
    arguments = ["PPLCNet_x0_25", "--size", "32", "--rounds", "1", "--runs", "1"]
    monkeypatch.setattr(sys, "argv", ["tools/benchmark.py", *arguments, "--csv", str(tmp_path / "t.csv")])
    runpy.run_path(str(root / "tools/benchmark.py"), run_name="__main__")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["form"], row["pixels"]) for row in rows] == [
        ("PPLCNet_x0_25", "folded", "32"),
        ("PPLCNet_x0_25", "as trained", "32"),
    ]
