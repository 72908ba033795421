"""Answers of a network that are kept by the content of the images."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from ppcls_light.engine.answers import PART, Answers, Records
from ppcls_light.errors import DataError


def digest(number):
    return number.to_bytes(32, "little")


def filled(cache, numbers, about=None):
    answers = Answers(cache, about or {"network": "a"})
    answers.read()
    for number in numbers:
        answers.add(digest(number), np.array([number, -number], np.float32))
    return answers


def test_what_was_written_is_read_by_content(tmp_path):
    filled(tmp_path, [3, 1, 2]).write()
    again = Answers(tmp_path, {"network": "a"})
    again.read()
    assert digest(3) in again
    assert digest(4) not in again
    np.testing.assert_array_equal(again.rows([digest(2), digest(3)]), [[2, -2], [3, -3]])
    assert np.isnan(again.rows([digest(4)])).all()
    assert json.loads((tmp_path / again.folder / "about.json").read_text()) == {"network": "a"}


def test_a_run_that_was_ended_keeps_its_whole_parts(tmp_path):
    filled(tmp_path, range(PART + 5))  # ended here: the last 5 were never written
    again = Answers(tmp_path, {"network": "a"})
    again.read()
    assert len(again) == PART
    for number in range(PART, PART + 5):
        again.add(digest(number), np.array([number, -number], np.float32))
    again.write()
    last = filled(tmp_path, [])
    rows = last.rows([digest(number) for number in range(PART + 5)])
    np.testing.assert_array_equal(rows[:, 0], np.arange(PART + 5))


def test_another_description_is_another_folder(tmp_path):
    filled(tmp_path, [1]).write()
    other = filled(tmp_path, [], {"network": "b"})
    assert len(other) == 0


def test_a_damaged_part_is_one_line_with_its_fix(tmp_path):
    answers = filled(tmp_path, [1, 2])
    answers.write()
    (part,) = (tmp_path / answers.folder).glob("part_*.npz")
    whole = part.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\xff" + whole[201:], b""):
        part.write_bytes(damaged)
        with pytest.raises(DataError, match=r"part_\w+\.npz: damaged .*delete it"):
            filled(tmp_path, [])


def test_a_part_that_holds_something_else_is_one_line_too(tmp_path):
    folder = tmp_path / filled(tmp_path, []).folder
    folder.mkdir()
    digests = np.zeros((2, 32), np.uint8)
    rows = np.ones((2, 3), np.float32)
    for wrong in (rows[0, 0], rows[:1], rows[..., None], rows.astype(str), rows * np.nan):
        np.savez(folder / "part_0.npz", digests=digests, answers=wrong)
        with pytest.raises(DataError, match=r"part_0\.npz: damaged .*delete it"):
            filled(tmp_path, [])
    with open(folder / "part_0.npz", "wb") as file:
        np.save(file, rows)
    with pytest.raises(DataError, match=r"part_0\.npz: damaged .*delete it"):
        filled(tmp_path, [])
    np.savez(folder / "part_0.npz", digests=digests, answers=rows)
    np.savez(folder / "part_1.npz", digests=digests + 1, answers=rows[:, :2])
    with pytest.raises(DataError, match=r"answers of different lengths; delete it"):
        filled(tmp_path, [])


def test_a_record_is_found_by_place_and_image(tmp_path):
    records = Records(tmp_path, {"network": "a"}, 3)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert records.get(5, b"first") is None
    records.put(5, b"first", rows[0])
    records.put(2, b"second", rows[1])
    again = pickle.loads(pickle.dumps(records))  # as it travels to a reader's process
    np.testing.assert_array_equal(again.get(5, b"first"), rows[0])
    np.testing.assert_array_equal(again.get(2, b"second"), rows[1])
    assert again.get(5, b"second") is None
    assert again.get(3, b"") is None  # a hole in the file
    assert Records(tmp_path, {"network": "b"}, 3).get(5, b"first") is None


def test_a_torn_or_damaged_record_counts_as_missing(tmp_path):
    records = Records(tmp_path, {}, 3)
    row = np.ones(3, np.float32)
    records.put(0, b"image", row)
    path = Path(records.folder, "records")
    content = path.read_bytes()
    for place in (0, 33, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert Records(tmp_path, {}, 3).get(0, b"image") is None
    path.write_bytes(content[:-1])
    records = Records(tmp_path, {}, 3)
    assert records.get(0, b"image") is None
    records.put(0, b"image", row)
    assert path.read_bytes() == content


def test_records_that_cannot_be_written_are_one_line(tmp_path):
    records = Records(tmp_path, {}, 3)
    Path(records.folder, "records").mkdir(parents=True)
    with pytest.raises(DataError, match=r"records: .*name another folder by cache"):
        records.put(0, b"image", np.ones(3, np.float32))
