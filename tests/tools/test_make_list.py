"""The tool writes lists and a config with which the printed command trains on the data as they are."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ppcls_light.commands import lists as lists_command
from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights
from ppcls_light.weights.published import training


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
    command = shlex.split(out.splitlines()[-1])
    assert command[-2:] == ["-c", str(folder / "photos.yaml")]
    # In this very shell, without an environment that is active.
    done = subprocess.run([*command, "--print-config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["Arch"]["class_num"] == 2
    code, _, err = make_list(folder)
    assert code == 2
    assert err.count("\n") == 1
    assert "add --split 0.8/0.1/0.1" in err


@pytest.fixture
def published(weights_home, file_server, tmp_path):
    """The key of the weights that the config names, which a server on this machine has."""
    path = tmp_path / "ssld.pdparams"
    model = create_model("PPLCNet_x1_0")
    write_weights(path, model.state_dict())
    (source,) = training("PPLCNet_x1_0", "ssld").sources
    file_server.files["/" + source.url.split("://")[1]] = path.read_bytes()
    return model.state_dict()


def test_the_config_fits_20_images_of_2_classes(tmp_path, make_list, run_tool, monkeypatch, published):
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
    assert (config.Arch.name, config.Arch.pretrained, config.Global.epochs) == ("PPLCNet_x1_0", "ssld", 40)
    # The operators are in the cache of another home.
    run_tool("train", "-c", path, "-o", "Global.epochs=1", "Global.device=cpu", "Global.cpu_ops=false")
    found = checkpoint.load("output/my pets/latest")
    # The weights came from the server, and 4 steps did not make others of them.
    key = "blocks6.0.pw_conv.conv.weight"
    start, moved = published[key].numpy(), np.abs(found.weights[key] - published[key].numpy())
    assert 0 < moved.mean() < 0.2 * np.abs(start).mean()
    assert "PPLCNet_x1_0_ssld_pretrained.pdparams" in Path("output/my pets/train.log").read_text()


def test_without_a_network_one_line_names_the_address_and_the_other_config(
    tmp_path, make_list, run_tool, monkeypatch, capsys
):
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    folder = photos(tmp_path / "p", a=4, b=4)
    make_list(folder, "--split", "1")
    with pytest.raises(SystemExit) as stop:
        run_tool("train", "-c", folder / "photos.yaml", "-o", "Global.device=cpu")
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2
    assert line.startswith("error: ")
    assert "PPLCNet_x1_0_ssld_pretrained.pdparams" in line
    assert line.endswith("make_list.py FOLDER --scratch")
    assert not list((tmp_path / "output/p").glob("[!.]*"))
    make_list(folder, "--split", "1", "--scratch")
    assert load_config(folder / "photos.yaml").Arch.pretrained is None


@pytest.mark.parametrize(
    ("images", "epochs", "batch_size", "scratch"),
    [(2, 40, 2, 100), (16, 40, 4, 100), (96, 40, 16, 100), (1600, 22, 32, 46), (40000, 5, 32, 12)],
)
def test_batch_and_epochs_follow_the_number_of_photos(tmp_path, images, epochs, batch_size, scratch):
    lists = {"train_list": str(tmp_path / "train_list.txt"), "val_list": str(tmp_path / "val_list.txt")}
    for is_scratch, expected in ((False, epochs), (True, scratch)):
        text = lists_command.config_text(is_scratch, str(tmp_path), 2, images, lists, "labels.txt")
        (tmp_path / "photos.yaml").write_text(text)
        config = load_config(tmp_path / "photos.yaml")
        assert (config.Global.epochs, config.Global.save_interval) == (expected, expected)
        assert config.DataLoader.Train.sampler.batch_size == batch_size <= images
        assert config.Optimizer.lr.warmup_epoch < expected


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


def test_its_own_earlier_config_is_no_class_without_images(tmp_path, make_list, caplog):
    folder = photos(tmp_path / "p", a=2, b=2)
    assert make_list(folder, "--split", "1")[0] == make_list(folder, "--split", "1", "--scratch")[0] == 0
    assert (folder / "previous_1/photos.yaml").is_file()
    (folder / "previous_7").mkdir()
    assert make_list(folder, "--split", "1", "--scratch")[0] == 0
    assert "left out 1 class folder without images (previous_7)" in caplog.text
