"""Learning curves: what is drawn of which rows."""

import math
import runpy
import sys

import pytest

from ppcls_light.base.files import short_names
from ppcls_light.engine.history import History
from ppcls_light.errors import DataError
from ppcls_light.report.curves import draw_curves, read_runs


def run(folder, scale=1.0, top1=True):
    """Write the metrics.jsonl of a run of two epochs of two steps."""
    folder.mkdir(parents=True)
    history = History(str(folder / "metrics.jsonl"))
    for step in range(1, 5):
        values = {"loss": scale / step, **({"top1": step / 10} if top1 else {})}
        history.append("train", step / 2, step, values, lr=scale * step)
        if step % 2 == 0:
            history.append("train_avg", step / 2, step, values)
            history.append("eval", step / 2, step, {"loss": 2 * scale / step, "top1": 0.9 - step / 10})
    history.close()
    return folder


def drawn(axes):
    """Return the curves of `axes` as lists of points, without gaps and the legend's empty lines."""
    curves = [list(zip(*line.get_data())) for line in axes.get_lines()]
    return [[point for point in curve if not math.isnan(point[1])] for curve in curves if curve]


def test_the_points_are_those_of_the_file(tmp_path):
    figure = draw_curves(read_runs([run(tmp_path / "a"), run(tmp_path / "b", scale=3.0, top1=False)]))
    loss, accuracy, rate = figure.axes
    assert drawn(loss) == [
        [(0.5, 1), (1, 1 / 2), (1.5, 1 / 3), (2, 1 / 4)], [(1, 1 / 2), (2, 1 / 4)], [(1, 1), (2, 1 / 2)],
        [(0.5, 3), (1, 3 / 2), (1.5, 1), (2, 3 / 4)], [(1, 3 / 2), (2, 3 / 4)], [(1, 3), (2, 3 / 2)],
    ]  # fmt: skip
    assert drawn(accuracy)[1:3] == [[(1, 0.2), (2, 0.4)], [(1, pytest.approx(0.7)), (2, 0.5)]]
    assert len(drawn(accuracy)) == 4  # the second run's training has no top-1
    assert drawn(rate) == [[(0.5, 1), (1, 2), (1.5, 3), (2, 4)], [(0.5, 3), (1, 6), (1.5, 9), (2, 12)]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["a (best top1 70.00 % after epoch 1)", "b (best top1 70.00 % after epoch 1)"]


def test_the_metric_that_picks_the_best_model_is_drawn(tmp_path):
    tmp_path.joinpath("metrics.jsonl").touch()
    history = History(str(tmp_path / "metrics.jsonl"))
    history.append("train_avg", 1, 1, {"CELoss": 0.3, "loss": 0.3, "top1": 0.9})
    history.append(
        "eval", 1, 1, {"CELoss": 0.4, "loss": 0.4, "tpr": 0.7, "fpr": 0.01, "threshold": 0.6, "top1": 0.9}
    )
    history.close()
    figure = draw_curves(read_runs([tmp_path]))
    metric = figure.axes[1]
    assert metric.get_title() == "tpr"
    assert drawn(metric) == [[(1, 0.7)]]
    assert "best tpr 70.00 %" in figure.legends[0].get_texts()[0].get_text()


def test_names_are_as_short_as_keeps_them_apart(tmp_path):
    assert short_names(["output/a", "output/b/"]) == ["a", "b"]
    assert short_names(["x/run/1", "y/run/1"]) == ["x/run/1", "y/run/1"]
    assert short_names(["x/1", "x/1"]) == ["1", "1"]
    assert short_names(["x/net"], taken=["net"]) == ["x/net"]
    assert short_names([]) == []


def test_what_cannot_be_drawn_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no/metrics.jsonl: No such file .*give the Global.output_dir"):
        read_runs([tmp_path / "no"])
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="has no rows yet"):
        read_runs([tmp_path])


def test_what_is_no_number_leaves_a_gap(tmp_path):
    values = ["NaN", "Infinity", "true", "null", '"x"', "[1]", "9" * 400, "0.5"]
    rows = [f'{{"split": "train", "epoch": {i}, "values": {{"loss": {v}}}}}' for i, v in enumerate(values)]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{row}\n" for row in rows))
    (read,) = read_runs([tmp_path])
    assert read.curve("train", "loss") == [[7], [0.5]]
    assert read.curve("train", "lr") == [[], []]
    draw_curves([read])


def test_the_tool_writes_both_pictures(root, tmp_path, monkeypatch, capsys):
    def tool(*arguments):
        monkeypatch.setattr(sys, "argv", ["tools/plot_curves.py", *map(str, arguments)])
        runpy.run_path(str(root / "tools/plot_curves.py"), run_name="__main__")
        return capsys.readouterr().out.split()

    one, other = run(tmp_path / "a"), run(tmp_path / "b")
    assert tool(one) == [f"{one}/curves.png", f"{one}/curves.svg"]
    assert tool(one, other, "--out", tmp_path / "both.png") == [
        f"{tmp_path}/both.png",
        f"{tmp_path}/both.svg",
    ]
    both = (tmp_path / "both.png").read_bytes()
    assert both.startswith(b"\x89PNG")
    tool(one, other, "--out", tmp_path / "both.png")  # of the same runs, which may have gone on
    assert not (tmp_path / "previous_1").exists()
    tool(other, "--out", tmp_path / "both.png")
    assert sorted(path.name for path in (tmp_path / "previous_1").iterdir()) == ["both.png", "both.svg"]
    (tmp_path / "mine.png").write_bytes(b"drawn by hand")
    tool(one, "--out", tmp_path / "mine")
    assert (tmp_path / "previous_2/mine.png").read_bytes() == b"drawn by hand"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as stop:
        tool(one)
    assert stop.value.code == 2
    assert 'pip install "ppcls_light[plot]"' in capsys.readouterr().err
