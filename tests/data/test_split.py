import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ppcls_light.data import read_class_names, read_image_list, scan_image_folder, write_image_lists
from ppcls_light.errors import ConfigError, DataError

TOOL = Path(__file__).parents[2] / "tools" / "make_list.py"


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


def test_tool(tmp_path):
    make(tmp_path, {"a": 10, "b": 10})
    command = [sys.executable, str(TOOL), str(tmp_path)]
    done = subprocess.run([*command, "--split", "0.8/0.2", "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'train_list.txt'}: 16 images" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a",
        "b",
        "labels.txt",
        "train_list.txt",
        "val_list.txt",
    ]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "add --split 0.8/0.1/0.1" in failed.stderr


def test_a_name_with_a_line_break_cannot_be_listed(tmp_path):
    make(tmp_path, {"a": 1})
    (tmp_path / "a" / "x\ny.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="line break"):
        write_image_lists(tmp_path, "1")
    assert not (tmp_path / "train_list.txt").exists()


def test_a_split_that_leaves_a_list_empty_is_refused_and_writes_nothing(tmp_path):
    make(tmp_path / "photos", {"a": 3, "b": 3})
    with pytest.raises(DataError, match=r"0\.6/0\.2/0\.2 leaves no image for val; .*larger share"):
        write_image_lists(tmp_path / "photos", "0.6/0.2/0.2", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_is_refused(tmp_path):
    make(tmp_path / "photos", {"a": 3, "b": 3})
    with pytest.raises(ConfigError, match="--seed -1 is below 0"):
        write_image_lists(tmp_path / "photos", "0.5/0.5", seed=-1)
