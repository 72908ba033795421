"""The tool writes lists and a config with which the printed command trains on the data as they are."""

import os
import shlex

import numpy as np
import pytest
from PIL import Image

from ppcls_light.config import load_config


@pytest.fixture
def make_list(run_tool, capsys):
    """A function that runs the tool and returns (exit code, stdout, stderr)."""

    def make_list(*arguments):
        code = 0
        try:
            run_tool("make_list", *arguments)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return make_list


def photos(folder, **counts):
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng(index).integers(0, 90, (40, 30, 3)) + 80 * label
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{index}.jpg")
    return folder


def test_lists_and_config_are_written_and_errors_are_one_line(tmp_path, make_list):
    folder = photos(tmp_path / "pets", a=10, b=10)
    code, out, _ = make_list(folder, "--split", "0.8/0.2", "--seed", "1")
    assert code == 0
    assert f"{folder / 'train_list.txt'}: 16 images" in out
    assert sorted(path.name for path in folder.iterdir()) == [
        *["a", "b", "labels.txt", "photos.yaml", "train_list.txt", "val_list.txt"]
    ]
    assert shlex.split(out.splitlines()[-1])[-2:] == ["-c", str(folder / "photos.yaml")]
    code, _, err = make_list(folder)
    assert code == 2
    assert err.count("\n") == 1
    assert "add --split 0.8/0.1/0.1" in err


def test_the_config_fits_20_images_of_2_classes(tmp_path, make_list, run_tool, monkeypatch):
    """Before, 16 training images were no batch of 32, and the first 3 of 2 classes were always right."""
    folder = photos(tmp_path / "my pets", cat=10, dog=10)
    make_list(folder, "--split", "0.8/0.2", "--out", tmp_path / "lists")
    assert not list(folder.glob("*.*"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lists" / "photos.yaml"
    config = load_config(path)
    assert config.Global.output_dir == "./output/my pets"
    assert config.Arch.class_num == config.Infer.PostProcess.topk == 2
    assert 16 % config.DataLoader.Train.sampler.batch_size == 0
    assert [metric.topk for metric in (*config.Metric.Train, *config.Metric.Eval)] == [[1], [1]]
    run_tool("train", "-c", path, "-o", "Global.epochs=1", "Optimizer.lr.warmup_epoch=0", "Global.device=cpu")
    assert os.path.isfile("output/my pets/best_model.pdparams")


def test_the_config_grows_with_the_data(tmp_path, make_list):
    folder = photos(tmp_path / "p", a=40, b=40, c=40, d=40)
    make_list(folder, "--split", "1")
    config = load_config(folder / "photos.yaml")
    assert config.DataLoader.Train.sampler.batch_size == 32
    assert config.Metric.Eval[0].topk == [1, 3]
    assert config.Infer.PostProcess.topk == 3
    assert not config.Global.eval_during_train  # no image was left for it


def test_labels_by_a_map_and_a_config_of_somebody_else_s(tmp_path, make_list):
    folder = photos(tmp_path / "p", a=2, b=2)
    (tmp_path / "map.json").write_text('{"b": 0, "a": 1}')
    code, _, _ = make_list(folder, "--split", "1", "--labels", tmp_path / "map.json")
    assert code == 0
    assert (folder / "labels.txt").read_text() == "0 b\n1 a\n"
    assert make_list(folder, "--split", "1", "--labels", tmp_path / "map.json")[0] == 0  # again
    (folder / "photos.yaml").write_text("Global: {}\n")
    code, _, err = make_list(folder, "--split", "1")
    assert code == 2
    assert "photos.yaml is no config of make_list's" in err
    assert (folder / "photos.yaml").read_text() == "Global: {}\n"
