"""Truths of classified images, and the picture of `tools/infer.py`."""

import numpy as np
import pytest
from PIL import Image

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.data.classes import ClassNames
from ppcls_light.engine.infer import listed_labels, truths
from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights


@pytest.fixture
def weights(tmp_path):
    """Overrides with random weights."""
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    write_weights(str(tmp_path / "weights.pdparams"), model.state_dict())
    return f"Global.pretrained_model={tmp_path}/weights.pdparams"


def test_a_truth_is_the_lists_label_or_else_the_class_that_the_folder_is_named_after(config_file, photos):
    (photos / "list.txt").write_text("val/00.png 2\nval/01.png\ndark/02.png 1\n")
    config = load_config(config_file, [f"Infer.infer_imgs={photos}", f"Infer.infer_list={photos}/list.txt"])
    labels = listed_labels(config)
    assert labels == {f"{photos}/val/00.png": 2, f"{photos}/dark/02.png": 1}
    names = ClassNames(("dark", "bright", "caf\u00e9"), "here")
    paths = [
        f"{photos}/{name}"
        for name in ("val/00.png", "val/01.png", "dark/02.png", "dark/3.png", "cafe\u0301/4.png")
    ]
    assert truths(paths, labels, names) == [2, None, 1, 0, 2]
    assert truths(paths, {}, None) == [None] * 5
    assert listed_labels(load_config(config_file)) == {}


def test_a_label_beyond_the_classes_is_an_error_that_names_it(config_file, photos, run_tool, weights, capsys):
    (photos / "list.txt").write_text("val/00.png 2\nval/01.png 3\n")
    arguments = (
        "-c",
        config_file,
        "-o",
        weights,
        f"Infer.infer_imgs={photos}",
        f"Infer.infer_list={photos}/list.txt",
    )
    with pytest.raises(SystemExit):
        run_tool("infer", *arguments, "--picture", photos / "grid.png")
    assert "val/01.png has the label 3, and the classes are 0 to 2" in capsys.readouterr().err
    assert not (photos / "grid.png").exists()


def test_the_tool_and_the_key_draw_the_same_picture_with_a_file_that_cannot_be_read(
    config_file, photos, run_tool, weights, tmp_path
):
    (photos / "val" / "99.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run_tool("infer", "-c", config_file, "-o", weights, "--picture", tmp_path / "one.png")
    run_tool("infer", "-c", config_file, "-o", weights, f"Infer.picture={tmp_path}/two.png")
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert one.shape[2] == 3


def test_a_picture_of_another_kind_is_refused_before_the_work(config_file):
    with pytest.raises(ConfigError, match=r"^Infer.picture: grid.bmp: a picture ends in .png"):
        jobs.infer(load_config(config_file, ["Infer.picture=grid.bmp"]))
