"""tools/benchmarks/table.py: the ratios of a CSV of tools/benchmarks/models.py."""

import runpy

import pytest

from ppcls_light.errors import DataError


@pytest.fixture(scope="module")
def table(root):
    return runpy.run_path(str(root / "tools/benchmarks/table.py"))["table"]


def row(model, engine, batch, threads, milliseconds, ratios, runs_as=None, network="folded"):
    return {
        "model": model,
        "network": network,
        "engine": engine,
        "precision": "fp32",
        "ratios": ratios,
        "batch": batch,
        "threads": threads,
        "median ms": milliseconds,
        "fastest round": milliseconds * 0.75,
        "slowest round": milliseconds * 0.9,
        "runs as": runs_as or f"{engine} fp32",
    }


ROWS = [
    row(
        "M0",
        "auto",
        8,
        2,
        1180.4,
        {"authors in openvino": 1.20, "authors in onnxruntime": 1.60},
        "auto: openvino fp32",
    ),
    row(
        "M0",
        "auto",
        1,
        1,
        0.51,
        {"authors in openvino": 1.40, "authors in onnxruntime": 1.30},
        "auto: openvino fp32",
    ),
    row("M0", "paddle", 1, 1, 5.0, {"authors in openvino": 0.10, "PaddleClas in paddle": 5.50}),
    row("M0", "auto", 1, 1, 0.7, {"authors in openvino": 1.00}, "auto: openvino fp32", network="as trained"),
    row("M0", "openvino", 1, 1, 0.7, {}, network="authors"),
    row("T0", "auto", 1, 1, 12.3456, {"authors in openvino": 1.02}, "auto: paddle fp32, oneDNN off"),
]


def test_a_cell_is_the_time_and_the_least_ratio(table):
    assert table(ROWS, "auto", "fp32").splitlines() == [
        "| model | batch 1, 1 thread | batch 8, 2 threads |",
        "|---|---|---|",
        "| M0 | 0.51 openvino, 1.30x | 1180 openvino, 1.20x |",
        "| T0 | 12.3 paddle, 1.02x |  |",
        "",
        "slowest round / fastest: 1.20 in the median, 1.20 at most",
    ]


def test_only_the_peers_that_are_asked_for(table):
    assert table(ROWS, "auto", "fp32", ["authors in onnxruntime"]).splitlines()[2] == (
        "| M0 | 0.51 openvino, 1.30x | 1180 openvino, 1.60x |"
    )
    assert table(ROWS, "paddle", "fp32", ["PaddleClas in paddle"]).splitlines()[2] == "| M0 | 5, 5.50x |"


def test_of_several_files_the_last_one_holds(table):
    again = row("T0", "auto", 1, 1, 10.0, {"authors in openvino": 1.10}, "auto: openvino fp32")
    lines = table([*ROWS, {**again, "slowest round": 75.0}], "auto", "fp32").splitlines()
    assert lines[3:] == [
        "| T0 | 10 openvino, 1.10x |  |",
        "",
        "slowest round / fastest: 1.20 in the median, 10.00 at most",
    ]


def test_what_was_not_measured_is_refused_with_what_was(table):
    there = r"there are: PaddleClas in paddle, authors in onnxruntime, authors in openvino"
    with pytest.raises(DataError, match=f"no peer 'timm'; {there}"):
        table(ROWS, "paddle", "fp32", ["PaddleClas in paddle", "timm"])
    with pytest.raises(
        DataError, match=r"no row of engine openvino, precision fp32.* auto fp32, paddle fp32"
    ):
        table(ROWS, "openvino", "fp32")
