"""Explanations of files: pictures, the table, classes by name or number, and what happens to what cannot be used."""

import json
import logging

import numpy as np
import pytest
from paddle import nn
from PIL import Image

from ppcls_light.base.fonts import Fonts
from ppcls_light.config.postprocess import Topk
from ppcls_light.data.classes import ClassNames
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.errors import ConfigError, DataError, UserError
from ppcls_light.explanation.job import explain, explain_exported
from ppcls_light.explanation.panel import Answer, draw_panel
from ppcls_light.explanation.subject import Subject, class_number
from ppcls_light.export import export_model
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights

OPS = [("DecodeImage", {}), ("ResizeImage", {"size": [32, 32]}), ("NormalizeImage", {"order": ""})]
NAMES = ("corner", "猫", "2")


def subject(heat=1.0):
    """Return a classifier that takes every image for class 0, with maps of `heat` at the top left."""
    transforms = build_transforms(OPS)

    def maps(images, classes):
        found = np.zeros((len(images), 32, 32), "float32")
        found[:, :8, :8] = heat
        return found

    def probabilities(images):
        return np.repeat([[0.75, 0.05, 0.2]], len(images), axis=0)

    return Subject(
        transforms, transforms.seen, probabilities, maps, "occlusion", Topk(topk=2), ClassNames(NAMES, "here")
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with four photos in two folders, two of the same name, and one that is damaged."""
    rng = np.random.default_rng(0)
    for name in ("a/one.png", "a/two.jpg", "b/one.png", "b/ONE.bmp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/b/zero.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "photos"


def test_every_image_has_a_picture_and_a_row_and_a_damaged_one_its_reason(folder, tmp_path, caplog):
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO, "ppcls_light"):
        rows = explain(subject(), str(folder), str(out))
    assert json.loads((out / "explain.json").read_text()) == rows
    assert [row.get("picture") for row in rows] == ["one.png", "two.png", "ONE_2.png", "one_3.png", None]
    assert sorted(path.name for path in out.iterdir()) == [
        "ONE_2.png",
        "explain.json",
        "one.png",
        "one_3.png",
        "two.png",
    ]
    assert rows[0] == {
        "class_ids": [0, 2],
        "scores": [0.75, 0.2],
        "file_name": f"{folder}/a/one.png",
        "label_names": ["corner", "2"],
        "class_id": 0,
        "label_name": "corner",
        "score": 0.75,
        "method": "occlusion",
        "picture": "one.png",
    }
    assert set(rows[-1]) == {"file_name", "error"}
    assert "1 of 5 images could not be explained" in caplog.text
    explain(subject(), str(folder), str(out))
    assert not list(out.glob("previous_*"))  # the same again


def test_at_most_so_many_images_are_explained_and_a_line_says_that_there_are_more(folder, tmp_path, caplog):
    rows = explain(subject(), str(folder), str(tmp_path / "out"), limit=2)
    assert [row["picture"] for row in rows] == ["one.png", "two.png"]
    assert "the first 2 images are explained; for more give --limit" in caplog.text
    with caplog.at_level(logging.INFO, "ppcls_light"):
        explain(subject(), str(folder), str(tmp_path / "one"), limit=1)
    assert "1 picture and explain.json" in caplog.text
    with pytest.raises(ConfigError, match="--limit 0: a number of images from 1 on"):
        explain(subject(), str(folder), str(tmp_path / "out"), limit=0)


def test_nothing_is_left_behind_when_it_fails(folder, tmp_path):
    def fails(images, classes):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        explain(subject()._replace(heat_maps=fails), str(folder), str(out))
    with pytest.raises(ConfigError, match=r"^--class cornr: no such class; did you mean 'corner'\?$"):
        explain(subject(), str(folder), str(out), label="cornr")
    with pytest.raises(DataError, match=r"none of the 1 images could be explained; the first: .*zero.png"):
        explain(subject(), str(folder / "b/zero.png"), str(out))
    assert list(out.iterdir()) == []


def test_a_class_is_its_name_or_else_its_number():
    names = ClassNames(("cat", "caf\u00e9", "0", "twin", "twin"), "here")
    assert class_number("cat", names, 5) == 0
    assert class_number("cafe\u0301", names, 5) == 1
    assert class_number("0", names, 5) == 2
    assert class_number("3", names, 5) == 3
    assert class_number("3", None, 5) == 3
    assert class_number(0, names, 5) == 0
    with pytest.raises(ConfigError, match="the name of classes 3 and 4; give the number"):
        class_number("twin", names, 5)
    for text, known in (("5", names), ("-1", None), ("dog", None)):
        with pytest.raises(
            ConfigError, match=f"label {text}: no such class; give a name, or a number from 0 to 4"
        ):
            class_number(text, known, 5)


def test_a_map_of_zeros_is_said_to_be_one_and_a_name_without_a_font_becomes_its_number(
    folder, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    rows = explain(subject(heat=0.0), str(folder / "a"), str(tmp_path / "out"), label="猫")
    assert [(row["class_id"], row["label_name"], row["score"]) for row in rows] == [(1, "猫", 0.05)] * 2
    assert "nothing in the image speaks for class 1, by occlusion" in caplog.text
    assert "apt install fonts-noto-cjk" in caplog.text


def test_a_panel_has_the_image_the_map_and_the_two_mixed_side_by_side():
    image = np.full((60, 40, 3), (200, 30, 30), np.uint8)
    heat = np.zeros((60, 40), "float32")
    heat[:30] = 1
    panel = np.asarray(
        draw_panel(image, heat, Answer(0, "a", 0.9), [Answer(0, "a", 0.9)], "gradcam", Fonts(14, "x"))
    )
    width, top = 160, 34
    left = [10 + index * (width + 10) for index in range(3)]
    assert (panel[top : top + 240, left[0] : left[0] + width] == (200, 30, 30)).all()
    shown, mixed = (panel[top : top + 240, x : x + width] for x in left[1:])
    assert (shown[:100] == (253, 231, 37)).all()
    assert (shown[-100:] == (68, 1, 84)).all()
    assert mixed[:100].mean() > mixed[-100:].mean() + 40
    assert (mixed[:, :, 0] != 200).all()


class Corner(nn.Layer):
    """Class 1 where the 8 x 8 pixels at the top left are bright."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * 32 * 32, 2)
        weight = np.zeros((3, 32, 32, 2), "float32")
        weight[:, :8, :8, 1] = 0.05
        self.fc.weight.set_value(weight.reshape(-1, 2))

    def forward(self, x):
        return self.fc(x.flatten(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An exported folder of `Corner`."""
    folder = tmp_path_factory.mktemp("corner") / "inference"
    export_model(Corner(), folder, (3, 32, 32), OPS[1:], ["dark", "bright"], "Corner", topk=2)
    return folder


def test_an_exported_folder_is_explained_by_occlusion(exported, folder, tmp_path, run_tool, capsys):
    image = np.full((32, 32, 3), 40, np.uint8)
    image[:8, :8] = 250
    Image.fromarray(image).save(tmp_path / "bright.png")
    (row,) = explain_exported(str(exported), str(tmp_path / "bright.png"), str(tmp_path / "one"))
    assert (row["label_name"], row["method"]) == ("bright", "occlusion")
    heat = np.asarray(Image.open(tmp_path / "one/bright.png"))[34:274, 260:500].sum(axis=2)
    assert np.unravel_index(heat.argmax(), heat.shape) < (60, 60)
    arguments = (
        "--model",
        exported,
        "--image",
        tmp_path / "bright.png",
        "--class",
        "dark",
        "--out",
        tmp_path / "two",
    )
    run_tool("explain", *arguments)
    assert json.loads((tmp_path / "two/explain.json").read_text())[0]["label_name"] == "dark"
    assert "explain.json in " in capsys.readouterr().err
    with pytest.raises(UserError, match="gradcam looks inside the network"):
        explain_exported(str(exported), str(folder), str(tmp_path / "out"), method="gradcam")


def test_the_tool_explains_a_checkpoint_and_refuses_options_of_the_other_kind(
    config_file, photos, run_tool, tmp_path, capsys
):
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    write_weights(str(tmp_path / "weights.pdparams"), model.state_dict())
    image = ("--image", photos / "val/00.png")
    base = ("-c", config_file, "-o", f"Global.pretrained_model={tmp_path}/weights.pdparams")
    for method in ("layercam", "occlusion"):
        run_tool(
            "explain", *base, *image, "--method", method, "--class", "striped", "--out", tmp_path / method
        )
        (row,) = json.loads((tmp_path / method / "explain.json").read_text())
        assert (row["label_name"], row["method"], row["picture"]) == ("striped", method, "00.png")
    run_tool("explain", *base, *image)
    assert (tmp_path / "output/explain/00.png").is_file()
    for arguments, said in (
        ((*base, "--engine", "paddle"), "--engine is of an exported folder"),
        (("--model", "inference", "-o", "Global.seed=1"), "-o is of a checkpoint"),
        ((*base, "--method", "occlusion", "--layer", "blocks6"), "occlusion is of no layer"),
        ((*base, "--method", "cam"), "there is no method 'cam'"),
        ((*base[:2], "--model", "inference"), "give one of -c CONFIG and --model FOLDER"),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool("explain", *arguments, *image)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
