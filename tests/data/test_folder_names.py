"""Split folders are told from class folders, and nobody's split becomes classes."""

import logging

import pytest

from ppcls_light.data import ClassNames, scan_image_folder
from ppcls_light.data.folder_names import split_folders, split_of
from ppcls_light.errors import DataError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            [
                "train",
                "TRAIN",
                "Training",
                "train_set",
                "trainset",
                "Training Set",
                "train2017",
                "images_train",
                "训练集",
            ],
        ),
        ("val", ["val", "Valid", "VALIDATION", "dev", "Eval", "val_images", "valset", "验证集"]),
        ("test", ["test", "Testing", "test-set", "TEST_DATA", "测试集"]),
        (
            None,
            ["trainer", "cat", "values", "tester", "contest", "2017", "device", "", "evaluations of cats"],
        ),
    ],
)
def test_names_of_splits(split, names):
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


def test_a_split_is_train_and_one_more():
    assert split_folders("P", ["cat", "Test", "Train"]) == {"train": "Train", "test": "Test"}
    assert split_folders("P", ["train", "cat"]) == {}
    assert split_folders("P", ["val", "test"]) == {}
    with pytest.raises(DataError, match="P: val and validation both mean the split val"):
        split_folders("P", ["train", "validation", "val"])


@pytest.mark.parametrize("other", ["val", "Testing", "dev"])
def test_a_folder_one_level_too_high_is_refused(tmp_path, other):
    make(tmp_path, "Train/cat/1.png", "Train/dog/1.png", f"{other}/cat/1.png")
    for known in (None, ClassNames(("cat", "dog"), "labels.txt")):
        with pytest.raises(DataError, match=rf"Train and {other} are the parts of a split.*use .*/Train$"):
            scan_image_folder(tmp_path, known)
    assert list(scan_image_folder(tmp_path / "Train")[1]) == ["cat", "dog"]


def test_a_split_of_unknown_names_is_refused(tmp_path):
    make(tmp_path, *(f"{fold}/{name}/1.png" for fold in ("a1", "a2", "a3", "a4") for name in ("cat", "dog")))
    make(tmp_path, "a1/overview.png")
    with pytest.raises(DataError) as error:
        scan_image_folder(tmp_path)
    assert "a1, a2, a3 and 1 more hold the same sub-folders (cat, dog): " in str(error.value)
    assert "--labels FILE" in str(error.value)
    # Whoever names the classes means them.
    names = ClassNames(("a1", "a2", "a3", "a4"), "labels.txt")
    assert scan_image_folder(tmp_path, names)[0].labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_one_folder_around_all_class_folders_is_refused(tmp_path):
    make(tmp_path, "images/cat/1.png", "images/dog/1.png", "notes/1.xml")
    with pytest.raises(
        DataError, match=r"sub-folders \(cat, dog\) of its one folder images: .* use .*/images;"
    ):
        scan_image_folder(tmp_path)


def test_a_part_of_a_split_beside_other_folders_is_refused(tmp_path):
    make(tmp_path, "train/cat/1.png", "train/dog/1.png", "unlabeled/1.png")
    with pytest.raises(DataError, match="train is the name of a part of a split"):
        scan_image_folder(tmp_path)


def test_sub_folders_that_some_share_are_a_warning(tmp_path, caplog):
    make(tmp_path, "f1/cat/1.png", "f1/dog/1.png", "f1/ant/1.png", "f2/cat/1.png", "f2/dog/1.png")
    assert list(scan_image_folder(tmp_path)[1]) == ["f1", "f2"]
    assert "f1, f2 share sub-folders (cat, dog)" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        ["cat/images/1.png", "dog/images/1.png"],  # Tiny ImageNet's form
        ["cat/a/1.png", "cat/b/1.png", "dog/c/1.png", "dog/1.png"],
        ["cat/old/1.png", "cat/new/1.png", "cat/1.png", "dog/old/1.png", "dog/new/1.png", "dog/1.png"],
        ["train/1.png", "bus/1.png"],
        ["cat/1.png"],
    ],
)
def test_class_folders_with_folders_of_their_own(tmp_path, caplog, names):
    scan = scan_image_folder(make(tmp_path, *names))
    assert list(scan[1]) == sorted({name.split("/")[0] for name in names})
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
