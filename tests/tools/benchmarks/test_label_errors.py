"""Planted wrong labels: what is planted, and what counts as found."""

import numpy as np
import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from tools.benchmarks import label_errors


def test_exactly_so_many_labels_become_wrong():
    labels = np.arange(200) % 4
    wrong, planted = label_errors.plant(labels, 4, 30, 0)
    assert planted.sum() == 30
    assert (wrong[planted] != labels[planted]).all()
    assert np.array_equal(wrong[~planted], labels[~planted])
    assert set(wrong) == {0, 1, 2, 3}
    assert not np.array_equal(label_errors.plant(labels, 4, 30, 1)[1], planted)


def test_recall_and_precision_are_counted():
    """A network that is always right suspects every planted label, and an old wrong label with them."""
    labels = np.arange(200) % 4
    old = labels.copy()
    old[100] = 3  # of class 0
    probabilities = 0.96 * np.eye(4)[labels] + 0.01
    for seed in range(3):
        row = label_errors.measure(old, probabilities, 30, seed)
        row = dict(zip(label_errors.COLUMNS, row))
        assert (row["images"], row["planted"]) == (200, 30)
        assert row["recall"] == 1
        assert row["suspected"] in (30, 31)  # the old one may be among the planted
        assert row["precision"] == 30 / row["suspected"]


def test_a_config_gives_the_answers_of_its_evaluation(config_file, tmp_path, photos, monkeypatch, capsys):
    jobs.train(load_config(config_file, ["Global.epochs=1"]))
    trained = f"Global.pretrained_model={tmp_path}/output/latest"
    labels, probabilities = label_errors.evaluated(load_config(config_file, [trained]))
    listed = [int(line.split()[1]) for line in (photos / "val_list.txt").read_text().splitlines()]
    assert (labels.tolist(), probabilities.shape[1]) == (listed, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(listed)), abs=1e-5)
    top1 = jobs.evaluate(load_config(config_file, [trained]))["top1"]
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(top1)

    options = ["-c", config_file, "-o", trained, "--planted", 2, "--seeds", 3, "--csv", tmp_path / "rows.csv"]
    monkeypatch.setattr("sys.argv", ["label_errors.py", *map(str, options)])
    label_errors.main()
    table = capsys.readouterr().out.splitlines()[-8:]
    assert table[0] == "| 3 seeds | median | least | greatest |"
    assert "| planted | 2 | 2 | 2 |" in table
    header, *rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert header.split(",") == list(label_errors.COLUMNS)
    assert len(rows) == 3
