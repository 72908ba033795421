"""Label errors of class folders by look-alikes, and the command."""

import csv

import numpy as np
import pytest
from PIL import Image

from ppcls_light.errors import DataError
from ppcls_light.predict.neighbours import Index
from ppcls_light.report.index_labels import left_out_votes, write_label_errors

COLOURS = {"blue": (10, 10, 200), "green": (10, 200, 10), "red": (200, 10, 10)}
WRONG = ("green/7.png", "red/3.png")  # their pictures are blue


@pytest.fixture
def index(tmp_path):
    """Twelve pictures of each class folder, embedded by their mean colour; two are in the wrong folder."""
    rng = np.random.default_rng(0)
    names, rows = [], []
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            path = f"{name}/{number}.png"
            shown = COLOURS["blue"] if path in WRONG else colour
            pixel = np.clip(np.array(shown) + rng.integers(-40, 40, 3), 0, 255).astype(np.uint8)
            Image.fromarray(np.broadcast_to(pixel, (8, 8, 3))).save(tmp_path / "photos" / path)
            names.append(path)
            rows.append(pixel)
    return Index(np.array(rows, np.float32), names, str(tmp_path / "photos"), "network")


def test_an_image_has_no_vote_on_itself(index):
    _, labels = index.classes()
    own = left_out_votes(index, labels, 3)
    assert own.shape == (36, 3)
    changed = labels.copy()
    changed[5] = 2
    np.testing.assert_array_equal(left_out_votes(index, changed, 3)[5], own[5])
    assert (left_out_votes(index, changed, 3) != own).any()


def test_images_in_the_wrong_folder_are_found(index, tmp_path, run_tool, capsys):
    index.write(str(tmp_path / "photos.npz"))
    run_tool("similar", "labels", "--index", tmp_path / "photos.npz", "--out", tmp_path / "out")
    assert capsys.readouterr().out == f"2 of 36 labels are suspected, see {tmp_path}/out\n"
    with open(tmp_path / "out/label_errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {f"{tmp_path}/photos/{name}" for name in WRONG}
    assert {row["predicted_name"] for row in rows} == {"blue"}
    page = (tmp_path / "out/label_errors.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "red → blue" in page


def test_an_index_without_class_folders_is_refused(index, tmp_path):
    loose = Index(index.embeddings[:1], ["0.png"], index.root, "network")
    with pytest.raises(DataError, match="in no class folder"):
        write_label_errors(str(tmp_path / "out"), loose)
    assert not (tmp_path / "out").exists()
