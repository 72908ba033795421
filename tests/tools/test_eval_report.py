"""tools/eval.py --report and --predictions, by one process and by two."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(config_file, tmp_path):
    """The override that names weights of one epoch, good for little."""
    jobs.train(load_config(config_file, ["Global.epochs=1"]))
    return f"Global.pretrained_model={tmp_path}/output/latest"


def test_report_and_predictions_are_of_one_evaluation(config_file, photos, tmp_path, trained, capsys):
    predictions, report = tmp_path / "rows.jsonl", tmp_path / "report"
    result = jobs.evaluate(load_config(config_file, [trained]), str(predictions), str(report))
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    listed = [line.split() for line in (photos / "val_list.txt").read_text().splitlines()]
    assert [(row["file_name"], row["label"]) for row in rows] == [
        (f"{photos}/{name}", int(label)) for name, label in listed
    ]
    assert all(sum(row["scores"]) == pytest.approx(1, abs=1e-5) for row in rows)
    wrong = {row["file_name"] for row in rows if row["class_ids"][0] != row["label"]}
    assert {row["file"] for row in read(report / "mistakes.csv")} == wrong
    summary = json.loads((report / "summary.json").read_text())
    assert summary["accuracy"] == pytest.approx(result["top1"]) == pytest.approx(1 - len(wrong) / len(rows))
    assert [row["class_name"] for row in read(report / "per_class.csv")] == ["dark", "bright", "striped"]
    assert f"report in {report}: images 11, accuracy " in capsys.readouterr().out
    page = (report / "report.html").read_text()
    assert page.count("heat map") == min(len(wrong), 24)
    assert "learning curves" in page  # of the metrics.jsonl beside the weights
    card = json.loads((report / "card.json").read_text())
    assert list(card) == ["data", "model"]  # there is no export
    assert card["model"]["parameters"] > 0
    assert card["data"]["list"] == f"{photos}/val_list.txt"


@pytest.mark.parametrize(
    ("options", "arguments", "said"),
    [
        ([], (None, None, True), "--latency is shown in the report; add --report DIR"),
        (["Global.save_inference_dir=nowhere"], (None, "report", True), "nowhere: no such folder"),
    ],
)
def test_a_latency_that_cannot_be_shown_or_measured_is_refused_first(config_file, options, arguments, said):
    with pytest.raises(ConfigError, match=said):
        jobs.evaluate(load_config(config_file, options), *arguments)


def test_a_missing_matplotlib_is_said_before_the_evaluation(config_file, tmp_path, root):
    code = "import sys; sys.modules['matplotlib.figure'] = None; sys.argv = sys.argv[1:]; import runpy; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, "tools/eval.py", "-c", str(config_file), "--report", str(tmp_path / "r"),
         "-o", "Global.pretrained_model=nothing"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == 'error: --report needs matplotlib; pip install "ppcls_light[plot]"'


@pytest.mark.slow
def test_two_processes_report_what_one_does(config_file, tmp_path, root, trained):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    jobs.evaluate(load_config(config_file, [trained]), str(alone / "rows.jsonl"), str(alone))
    command = [
        sys.executable,
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node=2",
        f"--log_dir={tmp_path}/log",
    ]
    command += ["tools/eval.py", "-c", str(config_file), "-o", trained, "-o", "Global.log_ranks=0,1"]
    command += ["--report", str(shared), "--predictions", str(shared / "rows.jsonl")]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("per_class.csv", "confusion_matrix.csv", "summary.json"):
        assert (shared / name).read_text() == (alone / name).read_text()
    pairs = zip(
        (alone / "rows.jsonl").read_text().splitlines(), (shared / "rows.jsonl").read_text().splitlines()
    )
    for one, other in pairs:
        one, other = json.loads(one), json.loads(other)
        assert (one["file_name"], one["class_ids"]) == (other["file_name"], other["class_ids"])
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    for rank in (0, 1):  # Global.log_ranks
        log = (tmp_path / f"log/workerlog.{rank}").read_text()
        assert len(re.findall(r"\[Eval\]\[Epoch 0\]\[Avg\]", log)) == 1
