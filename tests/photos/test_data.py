"""The division of photos: what is given stays, small classes give one photo to score, and faults are told."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ppcls_light.errors import ConfigError, DataError
from ppcls_light.photos.data import checked_lists, read_photos, shares_of, sizes_of

from .conftest import write_photos

SHARES = [0.8, 0.1, 0.1]


def named(splits):
    return {part.name: [part.images.name(i) for i in range(len(part.images))] for part in splits.parts}


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        *[(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [2, 0, 1]), (4, [3, 0, 1]), (5, [3, 1, 1])],
        *[(10, [8, 1, 1]), (24, [20, 2, 2]), (60, [48, 6, 6])],
    ],
)
def test_small_classes_are_scored_before_they_choose(count, sizes):
    assert sizes_of(count, SHARES) == sizes


@pytest.mark.parametrize("shares", [SHARES, [0.1, 0.1, 0.8], [0.01, 0.98, 0.01], [0.9, 0.1]])
def test_the_sizes_add_up_and_leave_one_to_learn(shares):
    for count in range(1, 200):
        sizes = sizes_of(count, shares)
        assert sum(sizes) == count
        assert sizes[0] >= 1
        assert min(sizes) >= 0


def test_three_shares_are_needed():
    assert shares_of("0.6/0.2/0.2") == [0.6, 0.2, 0.2]
    for text in ("0.8/0.2", "1", "0.8/0.2/0", "a/b/c", "0.8/0.1/0.2"):
        with pytest.raises(ConfigError, match=r"for example 0\.8/0\.1/0\.1"):
            shares_of(text)


def test_every_photo_is_in_one_part_and_the_seed_decides(tmp_path):
    folder = write_photos(tmp_path / "p", {"a": 10, "b": 3, "c": 1})
    parts = named(read_photos(folder, SHARES, 0))
    listed = [photo for photos in parts.values() for photo in photos]
    assert sorted(listed) == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert {name: len(photos) for name, photos in parts.items()} == {"train": 11, "val": 1, "test": 2}
    assert named(read_photos(folder, SHARES, 0)) == parts
    assert named(read_photos(folder, SHARES, 1)) != parts


def test_folders_of_a_split_stay_as_they_are(tmp_path):
    for part, count in (("train", 10), ("val", 2), ("test", 3)):
        write_photos(tmp_path / "p" / part, {"a": count, "b": count})
    parts = named(read_photos(tmp_path / "p", SHARES, 0))
    assert {name: len(photos) for name, photos in parts.items()} == {"train": 20, "val": 4, "test": 6}
    assert all(photo.startswith(f"{name}/") for name, photos in parts.items() for photo in photos)


@pytest.mark.parametrize("other", ["Validation", "test"])
def test_of_two_parts_the_second_is_held_out_and_some_of_the_first_choose(tmp_path, other):
    for part, count in (("train", 18), (other, 2)):
        write_photos(tmp_path / "p" / part, {"a": count, "b": count})
    parts = named(read_photos(tmp_path / "p", SHARES, 0))
    assert {name: len(photos) for name, photos in parts.items()} == {"train": 32, "val": 4, "test": 4}
    assert all(photo.startswith(f"{other}/") for photo in parts["test"])
    assert all(photo.startswith("train/") for photo in (*parts["train"], *parts["val"]))


def test_folders_that_cannot_be_learned_are_one_line_that_says_what_to_do(tmp_path):
    write_photos(tmp_path / "one", {"cats": 5})
    write_photos(tmp_path / "single", {"a": 1, "b": 1})
    write_photos(tmp_path / "flat", {"": 3})
    (tmp_path / "empty").mkdir()
    for name, message in {
        "nowhere": "is not there; give a folder with one folder of photos per class",
        "one/cats/00.png": r"is a file; give a folder .* or a config \(-c\) that names such a list",
        "one": r"one class only \(cats\)",
        "single": "no class has 2 photos, one to learn and one to score; add photos",
        "flat": r"as FOLDER/<class>/<photo>; .*3 images beside the class folders",
        "empty": "it is empty",
    }.items():
        with pytest.raises(DataError, match=message) as error:
            read_photos(str(tmp_path / name), SHARES, 0)
        assert "\n" not in str(error.value)


@pytest.fixture
def faulty(tmp_path):
    """Parts with a damaged photo, a copy across parts, and a picture with two labels within a part."""
    folder = tmp_path / "p"
    for place, (part, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        write_photos(folder / part, {"a": count, "b": count}, seed=place)
    shutil.copy(folder / "test/a/00.png", folder / "train/a/copy.png")
    shutil.copy(folder / "train/a/01.png", folder / "train/b/contradiction.png")
    (folder / "train/b/damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    return folder


def test_damaged_photos_and_copies_across_parts_are_in_no_list(faulty, tmp_path):
    lines = []
    lists = checked_lists(
        read_photos(str(faulty), SHARES, 0), str(faulty), str(tmp_path / "out"), lines.append
    )
    learned = (tmp_path / "out/lists/train_list.txt").read_text()
    assert lists.images == len(learned.splitlines()) == 9
    assert "copy.png" not in learned
    assert "damaged.jpg" not in learned
    assert "train/b/contradiction.png 1" in learned  # which label is right is for people to say
    assert "test/a/00.png 0" in (tmp_path / "out/lists/test_list.txt").read_text()
    text = "\n".join(lines)
    assert "left out: 1 photo that cannot be read, 1 photo that is also in another part" in text
    assert "conflict: 1 image has two labels" in text
    assert re.search(r"the first that cannot be read: \S+: \w+", text)
    assert lines[-1] == "9 to learn, 4 to choose the best epoch, 4 held out to score"
    assert (tmp_path / "out/lists/labels.txt").read_text() == "0 a\n1 b\n"
    assert (tmp_path / "out/check/index.html").is_file()
    assert not list(faulty.rglob("*.txt"))


def test_without_a_photo_to_score_there_is_an_error_that_names_the_page(faulty, tmp_path):
    for path in (faulty / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"none of the 4 photos held out to score is left \(test/a/00\.png: .+\); see .*index\.html",
    ):
        checked_lists(
            read_photos(str(faulty), SHARES, 0), str(faulty), str(tmp_path / "out"), lambda line: None
        )


def test_black_pictures_are_no_copies(tmp_path):
    """Nearly black pictures are alike by nature; they are told as dark ones."""
    folder = write_photos(tmp_path / "p", {"a": 6, "b": 6})
    for name in ("a", "b"):
        Image.fromarray(np.zeros((36, 40, 3), "uint8")).save(folder / name / "night.png")
    lines = []
    lists = checked_lists(
        read_photos(str(folder), SHARES, 0), str(folder), str(tmp_path / "out"), lines.append
    )
    assert lists.images + 4 == 14
    assert not any("left out" in line for line in lines)
