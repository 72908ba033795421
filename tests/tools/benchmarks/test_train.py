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
    shapes = ["PPLCNet_x0_25", "--batch", "2", "--size", "32", "16"]
    turns = ["--rounds", "1", "--runs", "1", "--threads", "2", "--csv", str(tmp_path / "t.csv")]
    monkeypatch.setattr(sys, "argv", ["tools/benchmarks/train.py", *shapes, *turns])
    monkeypatch.setenv("PPCLS_LIGHT_MARCH", "")  # which the tool sets
    runpy.run_path(str(root / "tools/benchmarks/train.py"), run_name="__main__")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cases = [("Paddle's, as installed", "1"), ("Paddle's", "2"), ("own", "2")]
    assert [(row["pixels"], row["operators"], row["threads"]) for row in rows] == [
        (pixels, *case) for pixels in ("32", "16") for case in cases
    ]
    assert rows[0]["times as installed"] == "1.00"
    assert all(float(row["samples/s"]) > 0 for row in rows)
    assert "| PPLCNet_x0_25 | 2 | 32 | native | own | 2 |" in capsys.readouterr().out


def test_rows_are_rates_beside_paddles_and_pytorchs_of_the_same_round(tool):
    times = {
        ("Paddle's, as installed", 1): [2000.0, 4000.0, 2000.0],
        ("own", 2): [500.0, 400.0, 800.0],
        ("PyTorch", 2): [1000.0, 400.0, 960.0],
    }
    rows = tool["rows"]("PPLCNet_x1_0", "avx2", {(32, 224): times})
    ours = ("PPLCNet_x1_0", 32, 224, "avx2", "own", 2)
    assert rows[1] == (*ours, "64.0", "40.0", "80.0", "4.00", "1.20", "1.00", "2.00")
    assert rows[2][-3:] == ("1.00", "1.00", "1.00")
    alone = tool["rows"]("PPLCNet_x1_0", "avx2", {(32, 224): {("own", 2): [500.0]}})
    assert alone[0][-4:] == ("", "", "", "")


def test_every_network_has_its_peer_and_its_environment(tool, monkeypatch):
    peers = ["--torch-python", "python", "--micronet-repo", "micronet"]
    monkeypatch.setattr(sys, "argv", ["train.py", "FasterNet_T0", *peers, "--own", "--threads", "3"])
    arguments = tool["parse_arguments"]()
    for name, peer in (("FasterNet_T0", None), ("MicroNet_M0", "micronet")):
        cases = tool["cases"](arguments, name, "avx2")
        assert list(cases) == [("own", 3), ("PyTorch", 3)]
        (_, _, repo, *_), environment = cases["PyTorch", 3]
        assert repo == peer
        assert environment["OMP_NUM_THREADS"] == "3"
        assert environment["PPCLS_LIGHT_MARCH"] == "x86-64-v3"
    arguments.micronet_repo = None
    assert list(tool["cases"](arguments, "MicroNet_M0", "native")) == [("own", 3)]


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
        tool["torch_step"](str(python), None, "PPLCNet_x1_0", 2, 32, 1)
