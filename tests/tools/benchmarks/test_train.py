import csv
import os
import runpy
import sys

import pytest

from ppcls_light.errors import UserError


@pytest.fixture
def tool(root):
    return runpy.run_path(str(root / "tools/benchmarks/train.py"))


@pytest.mark.slow
def test_the_tool_compares_operators(own_operators, root, tmp_path, monkeypatch, capsys):
    arguments = [
        "PPLCNet_x0_25",
        "--batch",
        "2",
        "--size",
        "32",
        "--rounds",
        "1",
        "--runs",
        "1",
        "--threads",
        "2",
    ]
    monkeypatch.setattr(
        sys, "argv", ["tools/benchmarks/train.py", *arguments, "--csv", str(tmp_path / "t.csv")]
    )
    runpy.run_path(str(root / "tools/benchmarks/train.py"), run_name="__main__")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["operators"], row["threads"]) for row in rows] == [
        ("Paddle's, as installed", "1"),
        ("Paddle's", "2"),
        ("own", "2"),
    ]
    assert rows[0]["times as installed"] == "1.00"
    assert all(float(row["samples/s"]) > 0 for row in rows)
    assert "| PPLCNet_x0_25 | 2 | 32 | own | 2 |" in capsys.readouterr().out


def test_rows_are_rates_beside_paddles_as_installed(tool):
    shape = ("PPLCNet_x1_0", 32, 224)
    medians = {
        (*shape, "Paddle's, as installed", 1): [2000.0, 4000.0, 2000.0],
        (*shape, "own", 2): [500.0, 400.0, 800.0],
    }
    assert tool["rows"](medians)[1] == (*shape, "own", 2, "64.0", "40.0", "80.0", "4.00")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PPLCNet_x0_25", "lcnet_025"),
        ("PPLCNet_x1_0", "lcnet_100"),
        ("FasterNet_T0", "fasternet_t0"),
        ("MicroNet_M0", None),
    ],
)
def test_names_in_timm(tool, name, expected):
    assert tool["timm_name"](name) == expected


def test_a_torch_interpreter_without_torch(tool, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E -c "import torch"\n')
    python.chmod(0o755)
    if os.name == "nt":
        pytest.skip("no shell")
    with pytest.raises(UserError, match=r"PPLCNet_x1_0 ended; it needs torch and timm"):
        tool["torch_step"](str(python), "PPLCNet_x1_0", 2, 32, 1)
