"""The command from photos to rows, with a network whose embedding is the mean colour."""

import csv
import json
import os
import shutil
from pathlib import Path

import cv2
import pytest

from ppcls_light.errors import ConfigError, DataError
from ppcls_light.export import export_model
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.neighbours import Index
from ppcls_light.prediction.similar import find_similar, format_similar, index_folder

from .conftest import OPS, Colours, picture

CHANNELS = {"red": 0, "green": 1, "blue": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export with embeddings."""
    folder = tmp_path_factory.mktemp("embeddings") / "inference"
    export_model(Colours(), folder, (3, 32, 32), OPS, model_name="Colours", embedding=True)
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of class folders, each with four pictures, one of them broken."""
    for name, channel in CHANNELS.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for seed in range(4):
            pixels = cv2.cvtColor(picture(channel, seed), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(tmp_path / "pictures" / name / f"{seed}.png"), pixels)
    (tmp_path / "pictures/red/0.png").write_bytes(b"no picture")
    return tmp_path / "pictures"


@pytest.fixture
def new(tmp_path):
    """A folder of a green and a broken picture."""
    (tmp_path / "new").mkdir()
    cv2.imwrite(str(tmp_path / "new/leaf.png"), picture(1, 9))
    (tmp_path / "new/torn.png").write_bytes(b"no picture")
    return tmp_path / "new"


def rows_of(predictor, index, images, **options):
    rows = []
    outcome = find_similar(predictor, index, str(images), rows.append, **options)
    return rows, outcome


def test_look_alikes_have_the_colour_of_the_query(folder, pictures, new, tmp_path, caplog):
    predictor, path = Predictor(folder, batch_size=2), str(tmp_path / "photos.npz")
    assert index_folder(predictor, str(pictures), path) == (12, 1)
    assert "left out: " in caplog.text
    assert "red/0.png: not an image" in caplog.text
    index = Index.read(path)
    assert (len(index.names), index.root) == (11, str(pictures))
    rows, outcome = rows_of(predictor, index, new, count=4, output=str(tmp_path / "rows.csv"))
    assert outcome == (2, 1)
    leaf, torn = rows
    assert {os.path.dirname(path) for path in leaf["neighbours"]} == {str(pictures / "green")}
    assert leaf["cosines"] == sorted(leaf["cosines"], reverse=True)
    assert leaf["cosines"][-1] > 0.99
    assert "torn.png: not an image" in torn["error"]
    lines = format_similar("leaf.png", leaf).splitlines()
    assert lines[0] == f"leaf.png:\t{leaf['cosines'][0]:.3f} {leaf['neighbours'][0]}"
    assert len(lines) == 4
    with open(tmp_path / "rows.csv", newline="") as file:
        header, first, second = csv.reader(file)
    assert header[:4] == ["file_name", "error", "neighbour_1", "cosine_1"]
    assert len(header) == 10
    assert first == [
        leaf["file_name"],
        "",
        *(str(cell) for pair in zip(leaf["neighbours"], leaf["cosines"]) for cell in pair),
    ]
    assert second[:2] == [torn["file_name"], torn["error"]]


def test_an_image_of_the_index_is_not_its_own_neighbour(folder, pictures, tmp_path):
    predictor, path = Predictor(folder), str(tmp_path / "photos.npz")
    index_folder(predictor, str(pictures), path)
    (row,), _ = rows_of(predictor, Index.read(path), pictures / "blue/1.png", count=11)
    assert len(row["neighbours"]) == 10
    assert row["file_name"] not in row["neighbours"]


def test_the_only_image_of_an_index_cannot_vote_for_itself(folder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    image = tmp_path / "pictures/one/a.png"
    cv2.imwrite(str(image), picture(1, 2))
    (tmp_path / "pictures/two/a.png").symlink_to(image)
    predictor, path = Predictor(folder), str(tmp_path / "photos.npz")
    index_folder(predictor, str(tmp_path / "pictures"), path)
    (row,), _ = rows_of(predictor, Index.read(path), image, classify=True)
    assert "the index has no image but this one" in row["error"]


def test_class_folders_classify_without_a_training(folder, pictures, new, tmp_path):
    predictor, path = Predictor(folder), str(tmp_path / "photos.npz")
    index_folder(predictor, str(pictures), path)
    output = str(tmp_path / "rows.jsonl")
    (row, _), _ = rows_of(predictor, Index.read(path), new, count=2, classify=True, output=output)
    assert row["label_names"][0] == "green"
    assert row["class_ids"][0] == 1  # of blue, green, red
    assert row["scores"][0] > 0.9
    assert json.loads(Path(output).read_text().splitlines()[0]) == row
    # A picture of the index does not vote for itself: alone in its folder it is none of its class.
    shutil.move(pictures / "red/1.png", tmp_path / "1.png")
    shutil.rmtree(pictures / "red")
    (pictures / "red").mkdir()
    shutil.move(tmp_path / "1.png", pictures / "red/1.png")
    index_folder(predictor, str(pictures), path)
    (row,), _ = rows_of(predictor, Index.read(path), pictures / "red/1.png", count=3, classify=True)
    assert row["label_names"][0] != "red"


def test_an_index_of_another_network_is_refused(folder, pictures, new, tmp_path):
    predictor, path = Predictor(folder), str(tmp_path / "photos.npz")
    index_folder(predictor, str(pictures), path)
    other = Predictor(folder, transform_ops=[*OPS[:2], ("NormalizeImage", {"order": "", "mean": [0, 0, 0]})])
    with pytest.raises(DataError, match="index was made with another network, preprocessing or precision"):
        rows_of(other, Index.read(path), new)


def test_wrong_settings_are_one_line_and_leave_nothing(folder, exported, pictures, tmp_path):
    predictor, path = Predictor(folder), tmp_path / "photos.npz"
    with pytest.raises(ConfigError, match=r"photos: the name of an index ends in \.npz"):
        index_folder(predictor, str(pictures), str(tmp_path / "photos"))
    with pytest.raises(DataError, match="nowhere: no such folder; name one with photos"):
        index_folder(predictor, str(tmp_path / "nowhere"), str(path))
    with pytest.raises(ConfigError, match="this export has no embeddings"):
        index_folder(Predictor(exported), str(pictures), str(path))
    for name in ("red", "green", "blue"):
        for picture_file in (pictures / name).iterdir():
            picture_file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="pictures: no image in it can be used; nothing is written"):
        index_folder(predictor, str(pictures), str(path))
    assert not path.exists()


def test_the_tool(folder, pictures, new, tmp_path, run_tool, capsys):
    path = tmp_path / "photos.npz"
    with pytest.raises(SystemExit) as ended:
        run_tool("similar", "index", "--model", folder, "--out", path, pictures, "-q")
    assert ended.value.code == 1
    run_tool(
        "similar", "query", "--model", folder, "--index", path, new / "leaf.png", "--classify", "--topk", 1
    )
    out = capsys.readouterr().out
    assert f"11 images are in {path}\n" in out
    assert "leaf.png:\tclass id(s): [1], score(s): [" in out
