from collections import Counter
from pathlib import Path

import pytest

from ppcls_light.data import read_class_names, read_image_list, scan_image_folder, write_image_lists
from ppcls_light.errors import ConfigError, DataError


def make(folder, counts):
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"照 {i}.jpg").write_bytes(b"x")


def entries(path, root):
    images = read_image_list(path, root)
    return [(images.name(i), images.label(i)) for i in range(len(images))]


def test_split_is_stratified_complete_and_repeatable(tmp_path):
    root = tmp_path / "photos"
    make(root, {"b": 20, "a": 50, "c": 1})
    names, counts, label_file = write_image_lists(root, "0.8/0.1/0.1", seed=3, out=tmp_path / "one")
    assert list(names) == ["a", "b", "c"]
    assert list(read_class_names(label_file)) == ["a", "b", "c"]
    assert list(counts.values()) == [40 + 16 + 1, 5 + 2, 5 + 2]
    lists = {Path(path).name: entries(path, root) for path in counts}
    per_class = {name: Counter(label for _, label in rows) for name, rows in lists.items()}
    assert per_class["train_list.txt"] == {0: 40, 1: 16, 2: 1}
    assert per_class["val_list.txt"] == {0: 5, 1: 2}
    assert per_class["test_list.txt"] == {0: 5, 1: 2}
    images, _ = scan_image_folder(root)
    everything = [(images.name(i), images.label(i)) for i in range(len(images))]
    assert sorted(row for rows in lists.values() for row in rows) == sorted(everything)

    write_image_lists(root, "0.8/0.1/0.1", seed=3, out=tmp_path / "two")
    write_image_lists(root, "0.8/0.1/0.1", seed=4, out=tmp_path / "three")
    train = [(tmp_path / out / "train_list.txt").read_bytes() for out in ("one", "two", "three")]
    assert train[0] == train[1]
    assert train[0] != train[2]


def test_split_folders_keep_the_training_labels(tmp_path):
    make(tmp_path / "train", {"hat": 2, "shoe": 3})
    make(tmp_path / "validation", {"shoe": 1})
    names, counts, _ = write_image_lists(tmp_path)
    assert list(names) == ["hat", "shoe"]
    assert {Path(path).name: count for path, count in counts.items()} == {
        "train_list.txt": 5,
        "val_list.txt": 1,
    }
    assert entries(tmp_path / "val_list.txt", tmp_path) == [("validation/shoe/照 0.jpg", 1)]
    with pytest.raises(ConfigError, match="already split into train, validation; leave --split out"):
        write_image_lists(tmp_path, "0.5/0.5")
    make(tmp_path / "test", {"bag": 1})
    with pytest.raises(DataError, match="class folder 'bag' is none of the 2 classes"):
        write_image_lists(tmp_path)


@pytest.mark.parametrize("split", ["0.8/0.3", "80/10/10", "a/b", "1/0", "0.25/0.25/0.25/0.25", ""])
def test_wrong_split(tmp_path, split):
    make(tmp_path, {"a": 2})
    with pytest.raises(ConfigError, match=r"for example 0\.8/0\.1/0\.1"):
        write_image_lists(tmp_path, split)


def test_split_folders_of_any_spelling(tmp_path, caplog):
    make(tmp_path / "Training", {"hat": 2, "shoe": 3})
    make(tmp_path / "TEST", {"shoe": 1})
    make(tmp_path, {"extra": 1})
    (tmp_path / "loose.png").touch()
    names, counts, _ = write_image_lists(tmp_path)
    assert list(names) == ["hat", "shoe"]
    assert {Path(path).name: count for path, count in counts.items()} == {
        "train_list.txt": 5,
        "test_list.txt": 1,
    }
    assert caplog.messages == [
        f"{tmp_path}: left out 1 image beside the class folders (loose.png), 1 folder beside the split folders (extra)",
        f"{tmp_path}/test_list.txt has no image of hat, and its score says nothing of that; add photos, or give it a "
        "larger share",
    ]


def test_a_label_map_fixes_the_labels(tmp_path, caplog):
    root, label_map = tmp_path / "photos", tmp_path / "map.txt"
    make(root, {"cat": 1, "dog": 1})
    label_map.write_text("dog\nzebra\ncat\n")
    names, _, label_file = write_image_lists(root, "1", label_map=label_map)
    assert list(names) == list(read_class_names(label_file)) == ["dog", "zebra", "cat"]
    assert entries(root / "train_list.txt", root) == [("cat/照 0.jpg", 2), ("dog/照 0.jpg", 0)]
    assert f"1 of the 3 classes that {label_map} names have no training image in {root}: zebra" in caplog.text
    label_map.write_text("dog\n")
    with pytest.raises(DataError, match=r"class folder 'cat' is none of the 1 classes that .*map\.txt names"):
        write_image_lists(root, "1", out=tmp_path / "out", label_map=label_map)
    assert not (tmp_path / "out").exists()
    # Folders that are named as classes are no split.
    make(tmp_path / "vehicles", {"train": 1, "test": 1})
    label_map.write_text("train\ntest\n")
    assert len(write_image_lists(tmp_path / "vehicles", "1", label_map=label_map)[0]) == 2


def test_labels_that_are_there_keep_their_meaning(tmp_path):
    root = tmp_path / "photos"
    make(root, {"cat": 1, "dog": 1})
    write_image_lists(root, "1")
    make(root, {"eel": 1})  # comes last: the others keep their labels
    write_image_lists(root, "1")
    make(root, {"ant": 1})
    before = {path: path.read_bytes() for path in root.glob("*.txt")}
    with pytest.raises(
        DataError, match=r"labels\.txt and the class folders .* only the second has ant; keep the labels by"
    ):
        write_image_lists(root, "1")
    assert {path: path.read_bytes() for path in root.glob("*.txt")} == before
    (tmp_path / "map.txt").write_text("0 cat\n1 dog\n2 eel\n3 ant\n")
    write_image_lists(root, "1", label_map=tmp_path / "map.txt")
    assert list(read_class_names(root / "labels.txt")) == ["cat", "dog", "eel", "ant"]
    (root / "labels.txt").write_text("3 cats\n5 dogs\n")
    with pytest.raises(DataError, match=r"labels\.txt is there and is no label map"):
        write_image_lists(root, "1")


@pytest.mark.parametrize("names", [["a 1", "b 0"], ["1", "2"], ["cat ", "dog"], ["0 a", "x"]])
def test_any_names_of_folders_can_be_read_back(tmp_path, names):
    make(tmp_path, dict.fromkeys(names, 1))
    found, _, label_file = write_image_lists(tmp_path, "1")
    assert list(read_class_names(label_file)) == list(found) == sorted(names)


def test_a_name_with_a_line_break_cannot_be_listed(tmp_path):
    make(tmp_path, {"a": 1})
    (tmp_path / "a" / "x\ny.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="line break"):
        write_image_lists(tmp_path, "1")
    assert not (tmp_path / "train_list.txt").exists()
    (tmp_path / "a" / "x\ny.jpg").unlink()
    (tmp_path / "a").rename(tmp_path / " a")
    with pytest.raises(DataError, match="a space at its beginning"):
        write_image_lists(tmp_path, "1")


def test_a_list_of_somebody_else_is_set_aside(tmp_path):
    make(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "train_list.txt").write_text("mine")
    write_image_lists(tmp_path, "0.5/0.5")
    assert (tmp_path / "previous_1/train_list.txt").read_text() == "mine"
    write_image_lists(tmp_path, "0.5/0.5")  # the same once more
    assert not (tmp_path / "previous_2").exists()


def test_a_split_that_leaves_a_list_empty_is_refused_and_writes_nothing(tmp_path):
    make(tmp_path / "photos", {"a": 3, "b": 3})
    with pytest.raises(DataError, match=r"0\.6/0\.2/0\.2 leaves no image for val; .*larger share"):
        write_image_lists(tmp_path / "photos", "0.6/0.2/0.2", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_is_refused(tmp_path):
    make(tmp_path / "photos", {"a": 3, "b": 3})
    with pytest.raises(ConfigError, match="--seed -1 is below 0"):
        write_image_lists(tmp_path / "photos", "0.5/0.5", seed=-1)
