"""Searches from the file to the best config: stages, failures, stops and kills, pruning, a teacher."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine.checkpoint import latest_states
from ppcls_light.errors import ConfigError, UserError
from ppcls_light.search import search
from ppcls_light.search.runner import Runner
from ppcls_light.search.trials import Record, Row, Trial
from tests.conftest import write_config, write_photos
from tests.search.conftest import DIVERGES, LR, write_search

ONE = ["Global.epochs=1"]


def rows_in(folder):
    """Return {trial: its row} of search.json."""
    return {row["trial"]["name"]: row for row in json.loads((folder / "search.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search by stages, of which one value diverges and one is what the config has."""
    place = tmp_path_factory.mktemp("stages")
    path = write_search(place, write_config(place, write_photos(place)))
    best, folder = search(path, ONE), place / "search"
    return SimpleNamespace(path=path, folder=folder, best=best, rows=rows_in(folder))


def test_a_stage_goes_on_with_the_best_value_of_the_one_before(searched):
    rows = searched.rows
    assert list(rows) == ["lrs_1", "lrs_2", "resolutions_1", "resolutions_2"]
    for name in ("resolutions_1", "resolutions_2"):
        assert rows[name]["trial"]["overrides"][:2] == [*ONE, f"{LR}=0.05"]
    best = max((row for row in rows.values() if row["score"] is not None), key=lambda row: row["score"])
    assert searched.best.score == best["score"]


def test_the_score_is_that_of_the_checkpoints(searched):
    for row in searched.rows.values():
        if row["state"] == "complete":
            assert row["score"] == latest_states(str(searched.folder / row["folder"]))["best"]


def test_a_trial_that_diverges_is_a_row_with_its_reason(searched):
    row = searched.rows["lrs_1"]
    assert (row["state"], row["score"]) == ("failed", None)
    assert "CELoss is " in row["reason"]
    assert "lower Optimizer.lr.learning_rate" in row["reason"]


def test_what_was_trained_already_is_not_trained_again(searched):
    row = searched.rows["resolutions_2"]  # 32 is what the config has, so that it is lrs_2 once more
    assert (row["folder"], row["score"]) == ("lrs_2", searched.rows["lrs_2"]["score"])
    assert not (searched.folder / "resolutions_2").exists()


def test_the_table_has_all_trials(searched):
    with open(searched.folder / "trials.csv", newline="") as file:
        table = {row["trial"]: row for row in csv.DictReader(file)}
    assert list(table) == list(searched.rows)
    assert float(table["lrs_1"]["lrs"]) == DIVERGES
    assert table["lrs_1"]["top1"] == ""
    assert float(table["lrs_2"]["top1"]) == pytest.approx(searched.rows["lrs_2"]["score"], abs=1e-6)
    assert (table["resolutions_1"]["lrs"], table["resolutions_1"]["resolutions"]) == ("", "24")


def test_the_picture_is_one(searched):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    with Image.open(searched.folder / "trials.png") as picture:
        assert picture.width > picture.height > 300


def test_the_best_config_trains_to_the_score(searched):
    jobs.train(load_config(searched.folder / "best.yaml"))
    assert latest_states(str(searched.folder / "best"))["best"] == pytest.approx(searched.best.score)


def test_a_search_that_ended_trains_nothing_again(searched):
    before = {path: path.stat().st_mtime_ns for path in searched.folder.glob("*/train.log")}
    assert search(searched.path, ONE).score == searched.best.score
    assert before == {path: path.stat().st_mtime_ns for path in searched.folder.glob("*/train.log")}


def test_another_search_in_the_folder_is_refused(searched):
    for changed, said in (
        (["search_times=2"], "another search_times"),
        (["Global.epochs=2"], "another -o for the trainings"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            search(searched.path, [*ONE, *changed] if changed[0].islower() else changed)
        assert str(caught.value).endswith("--overwrite")
    assert rows_in(searched.folder) == searched.rows


@pytest.mark.slow
def test_a_search_in_which_all_fail_ends_with_the_reason_and_can_be_mended(search_file, photos, tmp_path):
    rates = {"search_key": "lrs", "replace_config": [LR], "search_values": [0.05]}
    path, images = search_file(search_dict=[rates]), photos / "train_list.txt"
    whole = images.read_text()
    images.write_text(whole + "train/00.png 7\n")
    with pytest.raises(UserError, match=r"all trials of lrs failed, lrs_1 because of: .*train_list\.txt:27"):
        search(path, ONE)
    images.write_text(whole)
    search(path, ONE)
    assert rows_in(tmp_path / "search")["lrs_1"]["state"] == "complete"
    rates["search_values"] = [DIVERGES]
    with pytest.raises(UserError, match="lrs_1 because of: CELoss is "):
        search(search_file(search_dict=[rates]), ONE, overwrite=True)
    assert rows_in(tmp_path / "search/previous_1")["lrs_1"]["state"] == "complete"
    assert rows_in(tmp_path / "search")["lrs_1"]["state"] == "failed"


@pytest.mark.slow
def test_a_search_goes_on_where_ctrl_c_or_a_kill_ended_it(search_file, root, tmp_path):
    folder = tmp_path / "search"
    space = [{"search_key": "lrs", "replace_config": [LR], "low": 0.01, "high": 0.1, "log": True}]
    path = search_file(search_dict=space, method="random", trials=1)
    command = [sys.executable, "tools/search.py", "-c", path, "--jobs", "2", "-o", "Global.epochs=12"]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    saved = folder / "trial_001/latest.pdstates"

    def run_until_saved(number):
        """Send the search a signal once the trial has saved its state; return its exit code and output."""
        before = saved.stat().st_mtime_ns if saved.exists() else None
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while not saved.exists() or saved.stat().st_mtime_ns == before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        out = process.communicate(timeout=120)[0]
        return process.returncode, out

    code, out = run_until_saved(signal.SIGINT)
    assert code == 130
    assert "search.py -c " in out.splitlines()[-1]
    begun = rows_in(folder)
    assert begun["trial_001"]["state"] == "running"
    code, _ = run_until_saved(signal.SIGKILL)
    assert code == -signal.SIGKILL
    best = search(path, ["Global.epochs=12"], jobs=2)
    rows = rows_in(folder)
    assert {name: row["trial"] for name, row in rows.items()} == {
        name: row["trial"] for name, row in begun.items()
    }
    assert {row["state"] for row in rows.values()} == {"complete"}
    assert best.score == max(row["score"] for row in rows.values())
    resumed = re.findall(r"and (\d+) steps done", (folder / "trial_001/train.log").read_text())
    assert len(resumed) == 2
    # Equal where the first signal came with the last step of an epoch, whose evaluation the second start repeats.
    assert 0 < int(resumed[0]) <= int(resumed[1])


@pytest.mark.slow
def test_a_trial_below_the_median_is_ended(config_file, tmp_path):
    record = Record(str(tmp_path), {})
    for number in range(5):
        (tmp_path / f"t{number}").mkdir()
        rows = [
            {"split": "eval", "epoch": epoch, "step": epoch, "values": {"top1": 2.0}}
            for epoch in range(1, 501)
        ]
        (tmp_path / f"t{number}/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        record.keep(Row(Trial(f"t{number}", "random", str(config_file)), "complete", f"t{number}", 2.0))
    trials = iter([Trial("late", "random", str(config_file), ("Global.epochs=500", "Global.seed=1"))])
    Runner(str(tmp_path), record, [{}], 1, "top1", lambda: None).run(lambda: next(trials, None), prune=True)
    row, states = record.rows["late"], latest_states(str(tmp_path / "late"))
    assert row.state == "pruned"
    assert row.score == states["best"]
    assert states["epoch"] < 500


@pytest.mark.slow
def test_the_best_teacher_teaches_the_student(search_file, config_file, tmp_path):
    content = yaml.safe_load(config_file.read_text())
    student = content["Arch"]
    content["Arch"] = {
        "name": "DistillationModel",
        "class_num": 3,
        "freeze_params_list": [True, False],
        "models": [{"Teacher": {**student, "name": "PPLCNet_x1_0"}}, {"Student": student}],
    }
    content["Loss"]["Train"] = [
        {"DistillationDMLLoss": {"weight": 1.0, "model_name_pairs": [["Student", "Teacher"]]}}
    ]
    content["Metric"] = {"Eval": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}}]}
    distill = tmp_path / "distill.yaml"
    distill.write_text(yaml.safe_dump(content, sort_keys=False))
    halves = [0.5] * 6
    path = search_file(
        search_dict=[
            {
                "search_key": "lr_mult_list",
                "replace_config": ["Arch.lr_mult_list"],
                "search_values": [halves],
            },
        ],
        distill_config_file=str(distill),
        teacher={"rm_keys": ["Arch.lr_mult_list"], "search_values": ["PPLCNet_x0_35", "PPLCNet_x0_5"]},
        final_replace={"Arch.lr_mult_list": "Arch.models.1.Student.lr_mult_list"},
    )
    search(path, ONE)
    rows, folder = rows_in(tmp_path / "search"), tmp_path / "search"
    candidates = [rows["teacher_1"], rows["teacher_2"]]
    best = max(candidates, key=lambda row: row["score"])
    for row in candidates:
        assert not any("lr_mult_list" in text for text in row["trial"]["overrides"])
    trained = load_config(folder / "search_res/config.yaml")
    teacher, student = (trained.Arch.networks[name] for name in ("Teacher", "Student"))
    assert teacher.name == best["trial"]["values"]["teacher"]
    assert teacher.pretrained == str(folder / best["folder"] / "best_model.pdparams")
    assert list(student.params["lr_mult_list"]) == halves
    assert rows["search_res"]["score"] == latest_states(str(folder / "search_res"))["best"]
    assert load_config(folder / "distillation.yaml").Arch.networks["Teacher"] == teacher
