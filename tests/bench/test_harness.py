import csv
import functools
import runpy

import numpy as np
import pytest

from ppcls_light.bench import comparison, harness
from ppcls_light.errors import ConfigError, UserError


def appending(tmp_path, letter):
    """Return a case that appends `letter` to the file log at each call."""
    script = tmp_path / f"{letter}.py"
    script.write_text(f"open({str(tmp_path / 'log')!r}, 'a').write({letter!r})\n")
    return functools.partial, runpy.run_path, str(script)


def test_cases_take_turns_after_their_warm_up(tmp_path):
    cases = {letter: appending(tmp_path, letter) for letter in "ab"}
    medians = harness.measure(cases, rounds=2, runs=3)
    assert (tmp_path / "log").read_text() == "aaaabbbb" + "aaaabbbb" * 2
    assert list(medians) == ["a", "b"]
    assert all(len(times) == 2 and min(times) > 0 for times in medians.values())


def test_a_case_that_fails_ends_the_measurement(tmp_path):
    cases = {
        "good": appending(tmp_path, "a"),
        "bad": (functools.partial, runpy.run_path, "no"),
    }
    with pytest.raises(UserError, match="bad: its process ended"):
        harness.measure(cases, rounds=1, runs=1)


def test_rows_carry_what_they_depend_on(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    parser = harness.tool_parser("")
    harness.add_turns(parser)
    arguments = parser.parse_args(["--rounds", "3", "--csv", str(path)])
    settings = {"threads": 2, "size": "", **harness.conditions(arguments)}
    harness.report(arguments, ("name", "ms"), [("a", 1), ("b", 2)], settings)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = {"threads": "2", "size": "", "rounds": "3", "runs": "30", "environment": harness.environment()}
    assert rows == [{"name": "a", "ms": "1", **expected}, {"name": "b", "ms": "2", **expected}]
    _, said, _, header, _, first, _ = capsys.readouterr().out.splitlines()
    assert said == f"threads 2, rounds 3, runs 30, environment {harness.environment()}"
    assert (header, first) == ("| name | ms |", "| a | 1 |")


def script(tmp_path, name, text):
    """Return a case that runs `text` at each call."""
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    return functools.partial, runpy.run_path, str(path)


def test_what_is_seen_of_a_case(tmp_path):
    held = bytearray(64 << 20)  # what this process holds is not what a case holds
    cases = {
        "small": script(tmp_path, "small", "import time; time.sleep(0.02)"),
        "large": script(tmp_path, "large", "bytes(bytearray(b'x' * (40 << 20)))"),
    }
    small, large = harness.observe(cases, rounds=2, runs=4).values()
    assert [len(turn) for turn in small.turns] == [4, 4]
    assert min(min(turn) for turn in small.turns) >= 20
    assert small.load >= 20
    assert small.medians == [float(np.median(turn)) for turn in small.turns]
    assert large.memory > small.memory + 70
    assert small.note is None
    del held


def test_a_turn_ends_after_its_seconds_but_not_before_one_call(tmp_path):
    observation = harness.observe({"a": appending(tmp_path, "a")}, rounds=2, runs=50, seconds=0)["a"]
    assert [len(turn) for turn in observation.turns] == [1, 1]
    assert (tmp_path / "log").read_text() == "a" * (4 + 2 * 2)  # until it is warm, then a turn's two


def test_cases_that_are_refused_are_left_out(tmp_path):
    cases = {
        "refused": (comparison.Peer.parse, "x.txt"),
        "good": appending(tmp_path, "a"),
        "later": script(tmp_path, "later", COUNTING.format(path=str(tmp_path / "count"))),
    }
    refused = {}
    assert list(harness.observe(cases, rounds=2, runs=3, refused=refused)) == ["good"]
    assert refused == {"refused": str(refusal("x.txt")), "later": "enough"}
    with pytest.raises(UserError, match=r"^PPLCNet_x1_0, 8: --peer x\.txt"):
        harness.observe({("PPLCNet_x1_0", 8): cases["refused"]}, rounds=1, runs=1)


COUNTING = """
from ppcls_light.errors import UserError
with open({path!r}, "a+") as file:
    file.write("x")
    file.seek(0)
    if len(file.read()) > 10:
        raise UserError("enough")
"""


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        comparison.Peer.parse(text)
    return caught.value
