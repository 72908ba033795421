"""tools/eval.py --report and --predictions."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from ppcls_light import jobs
from ppcls_light.base.files import checksum
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config import load_config
from ppcls_light.config.postprocess import Topk
from ppcls_light.engine.evaluate import scores_learned
from ppcls_light.errors import ConfigError, DataError


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
    assert card["model"]["SHA-256 of the weights"] == checksum(tmp_path / "output/latest.pdparams")
    assert card["data"]["learned by the network"].startswith("not")
    assert card["data"]["list"] == f"{photos}/val_list.txt"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"latency": True}, "--latency is shown in the report; add --report DIR"),
        ({"label_next": "x"}, "--label-next is shown in the report; add --report DIR"),
        ({"report": "r", "latency": True}, "nowhere: no such folder"),
        ({"report": "r", "label_next": "no/folder"}, "no/folder is not a folder"),
        (
            {"report": "r", "label_count": 5},
            "--label-count 5: a number, 1 or more, of images of --label-next FOLDER",
        ),
        ({"report": "r", "label_next": ".", "label_count": 0}, "--label-count 0: a number, 1 or more"),
    ],
)
def test_a_report_that_cannot_be_made_is_refused_first(config_file, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        jobs.evaluate(load_config(config_file, ["Global.save_inference_dir=nowhere"]), **arguments)


def test_an_export_of_other_weights_is_no_part_of_the_report(config_file, photos, tmp_path, trained, capsys):
    folder = tmp_path / "inference"
    folder.mkdir()
    for name in ("inference.json", "inference.pdiparams"):
        (folder / name).write_bytes(b"")
    write_inference_yml(folder, [("DecodeImage", {})], Topk(topk=1), None, {"arch": "x", "weights": "others"})
    config = load_config(config_file, [trained, f"Global.save_inference_dir={folder}"])
    with pytest.raises(ConfigError, match=r"--latency: .* is an export of other weights; export these"):
        jobs.evaluate(config, report=str(tmp_path / "report"), latency=True)
    fresh = tmp_path / "fresh"
    (fresh / "deep").mkdir(parents=True)
    for index in range(5):
        shutil.copy(photos / f"val/{index:02}.png", fresh / f"deep/{index}.png")
    (fresh / "damaged.png").write_bytes((photos / "val/00.png").read_bytes()[:60])
    jobs.evaluate(config, report=str(tmp_path / "report"), label_next=str(fresh), label_count=3)
    card = json.loads((tmp_path / "report/card.json").read_text())
    assert "export" not in card
    rows = read(tmp_path / "report/label_next.csv")
    assert len(rows) == 3
    assert {os.path.dirname(row["file"]) for row in rows} == {str(fresh / "deep")}
    assert all(float(row["margin"]) >= 0 for row in rows)
    with pytest.raises(DataError, match=r"--label-next: .* all of its images are in the lists"):
        jobs.evaluate(config, report=str(tmp_path / "report"), label_next=str(photos / "val"))
    said = capsys.readouterr().out
    assert said.count("[Eval][Epoch 0][Avg]") == 1  # what cannot be shown is told before
    assert re.search(r"INFO: \d+ images of .*val_list\.txt\n", said)


def test_the_training_list_is_known_under_any_spelling_of_its_path(config_file, photos):
    key = "DataLoader.Eval.dataset.cls_label_path"
    for path, learned in (("train_list.txt", True), ("val/../train_list.txt", True), ("val_list.txt", False)):
        assert scores_learned(load_config(config_file, [f"{key}={photos}/{path}"])) is learned


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
