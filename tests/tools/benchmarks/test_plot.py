"""tools/benchmarks/plot.py: what is drawn of a CSV of tools/benchmarks/models.py."""

import csv
import runpy

import pytest

from ppcls_light.bench import comparison
from ppcls_light.errors import DataError
from ppcls_light.models import published
from tools.benchmarks.table import read_rows

TOP1 = published()
COLUMNS = [*comparison.COLUMNS, "machine"]


@pytest.fixture(scope="module")
def tool(root):
    return runpy.run_path(str(root / "tools/benchmarks/plot.py"))


def row(model, network, engine, batch, milliseconds, peer="", threads=1):
    times = {"median ms": milliseconds, "images/s": 1000 * batch / milliseconds}
    times |= {"fastest round": milliseconds / 2, "slowest round": milliseconds * 2}
    settings = {"precision": "fp32", "batch": batch, "threads": threads, "machine": "A machine"}
    texts = {
        "model": model,
        "network": network,
        "engine": engine,
        "runs as": engine,
        "peer": peer,
        "ratios": "",
    }
    return {**texts, **times, **settings}


ROWS = [
    row("PPLCNet_x1_0", "folded", "auto", 1, 4.0, "authors in openvino"),
    row("PPLCNet_x1_0", "as trained", "auto", 1, 5.0, "authors in openvino"),
    row("PPLCNet_x1_0", "authors", "openvino", 1, 6.0),
    row("PPLCNet_x1_0", "authors", "onnxruntime", 1, 7.0),
    row("PPLCNet_x0_5", "folded", "auto", 1, 2.0),
    row("PPLCNet_x0_5", "folded", "paddle", 1, 3.0),
    row("PPLCNet_x0_5", "folded", "auto", 1, 1.5, threads=2),
    row("PPLCNet_x0_5", "folded", "auto", 8, 16.0),
    row("EdgeNeXt_X_Small_BN_HS", "folded", "auto", 1, 9.0),
    row("my_export", "as exported", "auto", 1, 9.0),
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def test_points_are_ours_beside_the_fastest_peer_against_the_published_top1(tool, table):
    rows, _ = tool["chosen"](read_rows([table]), "auto", "fp32", 1)
    assert tool["points"](rows, 1, "median ms") == {
        "PPLCNet": [
            (2.0, TOP1["PPLCNet_x0_5"], "x0.5", None),
            (4.0, TOP1["PPLCNet_x1_0"], "x1.0", 6.0),
        ],
        "EdgeNeXt BN-HS": [(9.0, TOP1["EdgeNeXt_X_Small_BN_HS"], "XS", None)],
    }
    assert tool["points"](rows, 8, "images/s") == {"PPLCNet": [(500.0, TOP1["PPLCNet_x0_5"], "x0.5", None)]}


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("batch", "x"),
        ("threads", "0"),
        ("median ms", ""),
        ("images/s", "nan"),
        ("median ms", "-1"),
        ("images/s", "inf"),
        ("ratios", "authors in openvino"),
    ],
)
def test_a_row_with_a_wrong_number_is_named(tool, table, column, text):
    rows = list(csv.DictReader(table.read_text().splitlines()))
    rows[2][column] = text
    lines = [",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)]
    table.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"row 3: '{column}' is '{text}'"):
        read_rows([table])


def test_a_row_that_ends_early_is_named(tool, table):
    table.write_text(table.read_text() + "PPLCNet_x1_0,folded\n")
    with pytest.raises(DataError, match=f"row {len(ROWS) + 1}: .* is None"):
        read_rows([table])


def test_variants_are_short_and_different(tool):
    shorts = [tool["family"](model) for model in TOP1]
    assert len(set(shorts)) == len(TOP1)
    assert {name for name, _ in shorts} == {"PPLCNet", "FasterNet", "MicroNet", "EdgeNeXt", "EdgeNeXt BN-HS"}


def test_the_picture_says_what_is_published_and_what_was_measured(tool, run_tool, table, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws")
    figure = tool["draw"](*tool["chosen"](read_rows([table]), "auto", "fp32", 1))
    latency, throughput = figure.axes
    assert latency.get_xscale() == throughput.get_xscale() == "log"
    assert latency.get_xlabel() == "ms per batch of 1"
    assert throughput.get_xlabel() == "images/s, batch 8"
    assert "authors published" in latency.get_ylabel()
    assert figure.get_suptitle() == "A machine, 1 thread, engine auto, fp32"
    ours = latency.lines[0]
    assert (list(ours.get_xdata()), list(ours.get_ydata())) == ([2.0, 4.0], [63.14, 71.32])
    run_tool("benchmarks/plot", table, "--out", tmp_path / "p/speed")
    files = capsys.readouterr().out.split()
    assert files == [f"{tmp_path}/p/speed.png", f"{tmp_path}/p/speed.svg"]
    assert (tmp_path / "p/speed.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("a,b\n1,2\n", "is no CSV of"),
        ("", "is no CSV of"),
        (b"\xff\xfe\x00", "no text"),
    ],
)
def test_files_of_another_kind_are_refused(run_tool, tmp_path, capsys, text, message):
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as stop:
        run_tool("benchmarks/plot", path)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_engine_that_was_not_measured_is_refused_with_those_that_were(tool, table):
    with pytest.raises(DataError, match=r"engine openvino, .* auto, fp32, 1; .* paddle, fp32, 1"):
        tool["chosen"](read_rows([table]), "openvino", "fp32", 1)


def test_models_without_a_published_top1_are_refused(tool):
    rows = [row for row in ROWS if row["model"] == "my_export"]
    with pytest.raises(DataError, match="none of these models has a published top-1"):
        tool["chosen"](rows, "auto", "fp32", 1)


def test_files_of_two_machines_are_refused(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("A machine", "Another machine"))
    assert len(read_rows([table, table])) == 2 * len(ROWS)
    with pytest.raises(
        DataError, match=r"other\.csv: measured on A machine and on Another machine; give files of one"
    ):
        read_rows([table, other])
