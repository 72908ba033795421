"""A training and its folder in Python: what `train` returns, what a `Run` reads and makes, stopping and going on."""

import json
import logging
import math
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

import ppcls_light
from ppcls_light import Predictor, Run, UserError, load_config, train
from ppcls_light.engine.history import FILE_NAME, read_history
from ppcls_light.engine.recorder import Recorder
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.weights import read_weights
from tests.conftest import write_config


@pytest.fixture
def stopping(monkeypatch):
    """A function that lets Ctrl-C, or another signal, come with batch number `at`, counted from 1."""
    batch = Recorder.batch

    def stop(at, number=signal.SIGINT):
        count = 0

        def signalled(recorder, images):
            nonlocal count
            count += 1
            if count == at:
                signal.raise_signal(number)
            batch(recorder, images)

        monkeypatch.setattr(Recorder, "batch", signalled)

    return stop


def test_a_run_has_its_weights_and_what_was_measured(trained):
    assert trained.finished
    assert not trained.stopped
    assert trained.weights == os.path.join(trained.folder, "best_model.pdparams")
    assert trained.config.Global.epochs == 2
    curves = trained.curves
    assert curves["epoch"] == [1, 2]
    rows = read_history(os.path.join(trained.folder, FILE_NAME))
    for split, before in (("eval", ""), ("train_avg", "train_")):
        for name in ("loss", "top1"):
            told = [row["values"][name] for row in rows if row["split"] == split]
            assert curves[before + name] == told
    last = [
        [row["lr"] for row in rows if row["split"] == "train" and row["epoch"] <= end][-1] for end in (1, 2)
    ]
    assert curves["lr"] == last
    best = max(range(2), key=lambda place: (curves["top1"][place], place))
    assert trained.metrics["best"]["epoch"] == best + 1
    assert trained.metrics["best"]["top1"] == max(curves["top1"])
    assert trained.metrics["last"] == {name: column[-1] for name, column in curves.items()}


def test_an_evaluation_is_that_of_the_best_epoch(trained, tmp_path):
    path = tmp_path / "rows.jsonl"
    values = trained.evaluate(predictions=str(path))
    assert values["top1"] == trained.metrics["best"]["top1"]
    right = [row["class_ids"][0] == row["label"] for row in map(json.loads, path.read_text().splitlines())]
    assert values["top1"] == pytest.approx(np.mean(right))
    with pytest.raises(DataError, match="no_such"):
        trained.evaluate(["DataLoader.Eval.dataset.cls_label_path=no_such.txt"])


@pytest.mark.slow
def test_curves_are_a_picture_and_the_report_a_page(trained, tmp_path):
    picture = trained.plot()
    assert picture.size == (1500, 520)
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    page = trained.report()
    assert page == os.path.join(trained.folder, "report", "report.html")
    assert "learning curves" in Path(page).read_text(encoding="utf-8")
    assert os.path.isfile(trained.report(tmp_path / "elsewhere"))


def test_an_export_is_a_predictor_that_answers_as_the_evaluation(trained, tmp_path):
    predictor = trained.export(tmp_path / "exported", overrides=["Global.embedding=true"])
    assert isinstance(predictor, Predictor)
    assert predictor.bundle.folder == str(tmp_path / "exported")
    rows_file = tmp_path / "rows.jsonl"
    trained.evaluate(predictions=str(rows_file))
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    found = predictor.predict([row["file_name"] for row in rows])
    assert [row["class_ids"][0] for row in found] == [row["class_ids"][0] for row in rows]
    assert predictor.embed(rows[0]["file_name"]).shape[0] == 1


def test_a_run_that_was_moved_is_read_where_it_is(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "moved [1]")
    moved = Run(tmp_path / "moved [1]")
    assert moved.config.Global.output_dir == moved.folder
    assert moved.weights.startswith(moved.folder)
    assert moved.evaluate() == trained.evaluate()
    assert moved.metrics == trained.metrics


def test_a_config_made_in_python_gives_the_same_training_as_its_file(trained, tmp_path):
    content = yaml.safe_load((Path(trained.folder).parent / "config.yaml").read_text())
    config = load_config(content)
    run = train(config, epochs=2, output_dir=tmp_path / "elsewhere", device="cpu")
    assert run.folder == str(tmp_path / "elsewhere")
    assert run.config.Global.save_inference_dir == str(tmp_path / "elsewhere" / "inference")
    weights, first = (read_weights(one.weights.replace("best_model", "latest")) for one in (run, trained))
    assert all(np.array_equal(weights[key], first[key]) for key in first)
    assert config.Global.epochs == 4
    with pytest.raises(ConfigError, match=r"Global\.epochs"):
        train(content, epochs=-1)  # the sections themselves


def test_ctrl_c_ends_a_training_with_a_run_that_goes_on(trained, tmp_path, photos, stopping):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stopping(at=8)  # of 6 a epoch
    run = train(write_config(tmp_path, photos), epochs=2)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert run.stopped
    assert not run.finished
    assert run.weights.endswith("best_model.pdparams")  # of the first epoch
    assert run.curves["epoch"] == [1]
    assert "1 of 2 epochs, stopped" in repr(run)
    done = run.resume()
    assert done.finished
    assert run.finished  # the same folder
    weights, whole = (
        read_weights(os.path.join(folder, "latest.pdparams")) for folder in (run.folder, trained.folder)
    )
    assert all(np.array_equal(weights[key], whole[key]) for key in whole)
    longer = run.resume(epochs=3, resume_schedule="new")
    assert longer.curves["epoch"] == [1, 2, 3]


def test_a_run_without_a_finished_epoch_is_described(tmp_path, photos, stopping):
    stopping(at=2)
    run = train(write_config(tmp_path, photos))
    assert run.metrics == {}
    assert run.curves == {"epoch": []}
    assert run.weights.endswith("latest.pdparams")
    assert run.evaluate()["top1"] <= 1


def test_sigterm_still_ends_the_process(tmp_path, photos, stopping):
    stopping(2, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(write_config(tmp_path, photos))
    assert Run(tmp_path / "output").stopped


def test_a_thread_trains_and_handlers_and_log_stay_as_they_were(tmp_path, photos):
    logger = logging.getLogger("ppcls_light")
    own = logging.NullHandler()
    logger.addHandler(own)
    runs = []
    config = write_config(tmp_path, photos)
    thread = threading.Thread(target=lambda: runs.append(train(config, epochs=1)))
    thread.start()
    thread.join()
    assert runs[0].finished
    again = train(config, epochs=1, overwrite=True)
    assert again.finished
    assert logger.handlers == [own]
    assert logger.propagate
    assert logger.level == logging.NOTSET
    lines = (tmp_path / "output/train.log").read_text().splitlines()
    assert sum("[Avg]" in line and "[Train]" in line for line in lines) == 1


def test_a_run_that_stopped_early_is_finished(tmp_path, photos):
    run = train(write_config(tmp_path, photos), "Global.early_stop=1", learning_rate=1e-12)
    assert run.curves["epoch"] == [1, 2]
    assert run.finished


def test_a_network_without_evaluations_has_its_newest_weights(tmp_path, photos):
    run = train(write_config(tmp_path, photos), ["Global.eval_during_train=false"], epochs=1)
    assert run.finished
    assert run.weights.endswith("latest.pdparams")
    assert run.metrics["best"] == run.metrics["last"]
    assert set(run.metrics["last"]) >= {"epoch", "train_loss", "train_top1", "lr"}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"epoch": 2}, "there is no setting 'epoch'; did you mean 'epochs'?"),
        ({"epochs": object()}, "Global.epochs: a number, text, path, list or dict is expected, no object"),
        ({"epochs": 0}, "Global.epochs"),
        ({"learning_rate": "high"}, "Optimizer.lr.learning_rate"),
        ({"zzz": 1}, "there is no setting 'zzz'; there are epochs, "),
    ],
)
def test_a_wrong_setting_is_one_line(config_file, settings, line, tmp_path):
    with pytest.raises(UserError) as error:
        train(config_file, **settings)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "output").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no run, since it has no config\.yaml"):
        Run(tmp_path)


def test_measurements_that_cannot_be_read_are_named(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run")
    os.remove(tmp_path / "run/metrics.jsonl")
    assert Run(tmp_path / "run").metrics == {}
    (tmp_path / "run/metrics.jsonl").mkdir()
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be read"):
        repr(Run(tmp_path / "run"))


def test_columns_of_different_length_are_filled(tmp_path):
    from ppcls_light.engine.history import by_epoch

    rows = [
        {"split": "train", "epoch": 0.5, "values": {}, "lr": 0.1},
        {"split": "train_avg", "epoch": 1.0, "values": {"loss": 2.0}},
        {"split": "train", "epoch": 2.0, "values": {}, "lr": 0.2},
        {"split": "train_avg", "epoch": 2.0, "values": {"loss": 1.0}},
        {"split": "eval", "epoch": 2.0, "values": {"loss": 1.5, "top1": None}},
        {"split": "train", "epoch": 2.5, "values": {}, "lr": 0.3},
        {"split": "unknown", "epoch": 3.0, "values": {}},
    ]
    columns = by_epoch(rows)
    assert columns["epoch"] == [1, 2]
    assert columns["lr"] == [0.1, 0.2]
    assert columns["train_loss"] == [2, 1]
    assert math.isnan(columns["loss"][0])
    assert columns["loss"][1] == 1.5
    assert set(columns) == {"epoch", "lr", "train_loss", "loss"}
    assert ppcls_light.Run is Run
