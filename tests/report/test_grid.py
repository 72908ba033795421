"""Grid of predictions: one picture of a bounded number of images, with truth, prediction and score."""

import logging

import numpy as np
import pytest
from PIL import Image

from ppcls_light.errors import UserError
from ppcls_light.report import grid
from ppcls_light.report.grid import MOST, Cell, check_picture, draw_grid, write_grid


def drawn(*cells, names=None):
    sheet, _ = draw_grid(cells, names)
    return np.asarray(sheet, int)


def has(pixels, colour):
    return (np.abs(pixels - colour).sum(axis=2) < 12).any()


def test_colours_tell_right_from_wrong_and_an_unknown_truth_from_both():
    right, wrong, ink = grid._RIGHT, grid._WRONG, grid._INK
    for truth, expected in (
        (1, [True, False, False]),
        (0, [False, True, True]),
        (None, [False, False, True]),
    ):
        pixels = drawn(
            Cell(np.zeros((60, 60, 3), np.uint8) + 99, "a.jpg", truth, 1, 0.9), names=["hat", "sock"]
        )
        assert [has(pixels, colour) for colour in (right, wrong, ink)] == expected


def test_every_image_is_there_once_and_keeps_its_ratio():
    pictures = [np.full((100, 50 + 10 * index, 3), (index * 20, 0, 255), np.uint8) for index in range(12)]
    pixels = drawn(*(Cell(picture, "a.jpg", 0, 0, 1.0) for picture in pictures))
    for index, picture in enumerate(pictures):
        shown = (pixels == picture[0, 0]).all(axis=2)
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        assert len(rows) * len(columns) == shown.sum()
        assert len(columns) / len(rows) == pytest.approx(picture.shape[1] / picture.shape[0], abs=0.02), index


def test_a_long_name_does_not_reach_into_the_next_cell():
    cells = [Cell(None, "a.jpg", 0, 1, 0.5), Cell(None, "b.jpg", 0, 0, 0.5)]
    short, long = (drawn(*cells, names=["a", name]) for name in ("b", "b" * 90))
    second = short.shape[1] // 2
    assert (short[:, :second] != long[:, :second]).any()
    np.testing.assert_array_equal(short[:, second:], long[:, second:])


@pytest.fixture
def rows(tmp_path):
    """100 result rows of pictures, of which the last cannot be read."""
    rows = []
    for index in range(100):
        path = str(tmp_path / f"{index:03d}.png")
        Image.fromarray(np.full((8, 8, 3), (index, 255 - index, 7), np.uint8)).save(path)
        rows.append({"file_name": path, "class_ids": [index % 3], "scores": [0.5], "label_names": []})
    rows[99] = {"file_name": rows[99]["file_name"], "error": "damaged"}
    return rows


def test_of_many_images_a_bounded_number_is_shown_evenly_and_a_line_says_so(rows, tmp_path, caplog):
    path = tmp_path / "grid.png"
    with caplog.at_level(logging.INFO, "ppcls_light"):
        write_grid(str(path), rows, [0] * 100)
    assert f"picture of {MOST} of 100 images, evenly chosen in {path}" in caplog.text
    colours = {colour for _, colour in Image.open(path).getcolors(1 << 16)}
    shown = [index for index in range(100) if (index, 255 - index, 7) in colours]
    assert len(shown) == MOST
    assert shown[0] == 0
    assert shown[-1] >= 97
    assert np.diff(shown).max() == 2


def test_the_same_picture_is_replaced_and_another_is_set_aside(rows, tmp_path, caplog):
    path = tmp_path / "out" / "grid.jpg"
    write_grid(str(path), rows[:3], [0] * 3)
    first = path.read_bytes()
    write_grid(str(path), rows[:3], [0] * 3)
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.jpg"]
    write_grid(str(path), rows[-3:], [None] * 3)
    assert "of something else moved to" in caplog.text
    assert (path.parent / "previous_1" / "grid.jpg").read_bytes() == first
    assert path.read_bytes() != first


def test_what_cannot_become_a_picture_is_said_before_the_work(tmp_path):
    with pytest.raises(UserError, match=r"^Infer.picture: grid.tiff: a picture ends in .png, .jpg, .jpeg$"):
        check_picture("grid.tiff", "Infer.picture")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        check_picture(str(tmp_path / "file" / "grid.png"), "--picture")
