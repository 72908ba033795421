import csv
import runpy
import sys
from argparse import ArgumentTypeError

import pytest

from ppcls_light.bench import harness
from tools.benchmarks import ops as importable


@pytest.fixture(scope="module")
def ops(root):
    return runpy.run_path(str(root / "tools/benchmarks/ops.py"))


# One layer on 96x56x56, by hand: multiply-adds, then numbers moved: 2 h w c, or c / 4 = 24 for PConv, + weights.
POSITIONS = 56 * 56
COSTS = {
    "Conv": (POSITIONS * 82944, POSITIONS * 192 + 82944),  # 3 x 3 x 96 x 96
    "GConv": (POSITIONS * 5184, POSITIONS * 192 + 5184),  # 16 groups
    "DWConv": (POSITIONS * 864, POSITIONS * 192 + 864),
    "PConv split_cat": (POSITIONS * 5184, POSITIONS * 48 + 5184),  # 3 x 3 x 24 x 24
    "PConv slicing": (POSITIONS * 5184, POSITIONS * 48 + 5184),
    "PWConv": (POSITIONS * 9216, POSITIONS * 192 + 9216),
    "none": (0, 0),
}


def test_costs_are_those_of_the_papers_formulas(ops):
    assert set(ops["OPERATORS"]) == set(COSTS)
    for operator, (multiply_adds, numbers) in COSTS.items():
        cost = ops["cost"](operator, (96, 56, 56), 10)
        assert cost == (10 * multiply_adds, 10 * 4 * numbers), operator
    # Height and width may differ: 2 layers, 8 channels on 3 x 5, 2 of them convolved.
    assert ops["cost"]("PConv split_cat", (8, 3, 5), 2) == (2 * 15 * 36, 2 * 4 * (15 * 4 + 36))


def test_a_row_computed_by_hand(ops):
    cost = ops["Cost"](multiply_adds=1_000_000_000, traffic=100_000_000)
    assert cost.intensity == 20
    assert cost.gflops(10.0) == 200
    assert ops["roofline"](20, 1000, 30) == 600
    assert ops["roofline"](40, 1000, 30) == 1000
    row = ops["table_row"]("Conv", (1, 2, 3), cost, [12.0, 10.0, 8.0], 1000, 30)
    assert len(row) == len(ops["COLUMNS"])
    assert row == [
        *("Conv", "1x2x3", "1000.00", "100.00", "20.00"),
        *("10.000", "8.000", "12.000"),
        *("200.0", "600.0", "33%"),
    ]


def test_a_map_is_three_numbers(ops):
    assert ops["map_shape"]("96x56x40") == (96, 56, 40)
    for text in ("96x56", "96x56x0", "axbxc"):
        with pytest.raises(ArgumentTypeError, match="expected"):
            ops["map_shape"](text)


def test_the_machine_cases_run_with_the_threads_asked_for():
    cases = {
        "product": (importable.matrix_product, 32, 2),
        "copy": (importable.array_copy, 1 << 16, 2),
    }
    assert set(harness.measure(cases, rounds=1, runs=1)) == set(cases)


def test_the_matrix_product_refuses_a_process_in_which_threads_are_settled():
    assert "numpy" in sys.modules
    with pytest.raises(RuntimeError, match="thread count"):
        importable.matrix_product(32, 1)


@pytest.mark.slow
def test_the_tool_measures_writes_and_draws(tmp_path, monkeypatch, capsys):
    table, plot = tmp_path / "new/ops.csv", tmp_path / "new/ops.png"
    arguments = ["--operators", "PConv slicing", "none", "--maps", "8x4x4", "--layers", "2"]
    arguments += ["--rounds", "2", "--runs", "1", "--csv", str(table), "--plot", str(plot)]
    monkeypatch.setattr(sys, "argv", ["tools/benchmarks/ops.py", *arguments])
    monkeypatch.setattr(importable, "PRODUCT_SIZE", 128)
    monkeypatch.setattr(importable, "ENGINE_PRODUCT", ("PWConv", (64, 8, 8), 1))
    monkeypatch.setattr(importable, "COPY_BYTES", 1 << 20)
    importable.main()
    with open(table, newline="", encoding="utf-8") as file:
        pconv, none = csv.DictReader(file)
    assert [pconv["operator"], none["operator"]] == ["PConv slicing", "none"]
    assert (pconv["map"], pconv["layers"], pconv["threads"]) == ("8x4x4", "2", "1")
    assert (pconv["rounds"], pconv["runs"]) == ("2", "1")
    assert "Paddle" in pconv["environment"]
    for row in (pconv, none):
        times = [float(row[key]) for key in ("fastest round", "median ms", "slowest round")]
        assert 0 < times[0] <= times[1] <= times[2]
    assert float(pconv["matrix product GFLOPS"]) > 0
    assert float(pconv["copy GB/s"]) > 0
    assert none["GFLOPS"] == ""
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "| PConv slicing | 8x4x4 |" in capsys.readouterr().out
