import pickle
import tracemalloc

import numpy as np
import pytest

from ppcls_light.data import read_image_list
from ppcls_light.errors import DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    for name in ("a/1.jpg", "a/two words.jpg", "b/3\ttab.JPG", "b/图 片.png", "4.jpeg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode(encoding))
    return path


def entries(images):
    return [(images.name(i), images.label(i)) for i in range(len(images))]


def test_plain_list(tmp_path, root):
    images = read_image_list(write(tmp_path, "a/1.jpg 0\n4.jpeg 1\n"), root)
    assert entries(images) == [("a/1.jpg", 0), ("4.jpeg", 1)]
    assert images.path(1) == str(root / "4.jpeg")
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 1]


def test_spaces_tabs_cjk_crlf_bom_blank_lines_and_backslashes(tmp_path, root):
    text = "\ufeffa/1.jpg \t 0\r\n\r\na\\two words.jpg\t1\r\n  \t\nb/3\ttab.JPG   2 \nb\\图 片.png 3"
    expected = [("a/1.jpg", 0), ("a/two words.jpg", 1), ("b/3\ttab.JPG", 2), ("b/图 片.png", 3)]
    assert entries(read_image_list(write(tmp_path, text), root, class_num=4)) == expected


@pytest.mark.parametrize("delimiter", [" ", "\t"])
def test_blank_delimiters_are_the_default(tmp_path, root, delimiter):
    assert len(read_image_list(write(tmp_path, "a/1.jpg 0\n4.jpeg\t0\n"), root, delimiter=delimiter)) == 2


def test_own_delimiter(tmp_path, root):
    images = read_image_list(write(tmp_path, "a/two words.jpg,1\n4.jpeg , 0\n"), root, delimiter=",")
    assert entries(images) == [("a/two words.jpg", 1), ("4.jpeg", 0)]


def test_unlabelled_list(tmp_path, root):
    images = read_image_list(write(tmp_path, "a/two words.jpg\n4.jpeg\n"), root, labelled=False)
    assert entries(images) == [("a/two words.jpg", -1), ("4.jpeg", -1)]


def test_absolute_paths(tmp_path, root):
    images = read_image_list(write(tmp_path, f"{root}/a/1.jpg 0\n"), root)
    assert images.path(0) == f"{root}/a/1.jpg"


def test_pickles(tmp_path, root):
    images = pickle.loads(pickle.dumps(read_image_list(write(tmp_path, "a/1.jpg 0\nb/图 片.png 1\n"), root)))
    assert entries(images) == [("a/1.jpg", 0), ("b/图 片.png", 1)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a/1.jpg 5", "label 5 is outside 0..4 (class_num 5). Labels start at 0."),
        ("a/1.jpg -1", "label -1 is outside 0..4 (class_num 5). Labels start at 0."),
        ("a/1.jpg", "'a/1.jpg' has no label; a line is 'path label'"),
        ("a/1.jpg abc", "label 'abc' is not a whole number; a line is 'path label'"),
        ("a/1.jpg 1.0", "label '1.0' is not a whole number; a line is 'path label'"),
        ("a/1.jpg 1_0", "label '1_0' is not a whole number; a line is 'path label'"),
    ],
)
def test_one_wrong_line_is_one_line(tmp_path, root, line, reason):
    path = write(tmp_path, f"4.jpeg 0\n\n{line}\n")
    with pytest.raises(DataError) as error:
        read_image_list(path, root, class_num=5)
    assert str(error.value) == f"{path}:3: {reason}"


def test_missing_image(tmp_path, root):
    path = write(tmp_path, "a/1.jpg 0\nc/1.jpg 0\n")
    with pytest.raises(DataError) as error:
        read_image_list(path, root)
    assert str(error.value) == f"{path}:2: there is no image {root / 'c/1.jpg'}"
    assert len(read_image_list(path, root, check_files=False)) == 2


def test_negative_label_without_class_num(tmp_path, root):
    with pytest.raises(DataError, match=r"label -3 is negative\. Labels start at 0\."):
        read_image_list(write(tmp_path, "a/1.jpg -3\n"), root)


def test_all_problems_at_once(tmp_path, root):
    path = write(tmp_path, "4.jpeg 0\n" + "a/1.jpg\n" + "none.jpg 1\n" + "a/1.jpg 9\n" * 28)
    with pytest.raises(DataError) as error:
        read_image_list(path, root, class_num=2)
    head, *listed, last = str(error.value).split("\n  ")
    assert head.startswith(f"{path}: 30 of 31 lines are wrong; ")
    assert "labels from 0 up to 1" in head
    assert listed[0].startswith(f"{path}:2: 'a/1.jpg' has no label")
    assert listed[1].startswith(f"{path}:3: there is no image")
    assert listed[-1].startswith(f"{path}:21: label 9")
    assert len(listed) == 20
    assert last == "... and 10 more"


@pytest.mark.parametrize("text", ["", "\n \n\t\r\n", "\ufeff"])
def test_empty_list(tmp_path, root, text):
    with pytest.raises(DataError, match="the list is empty"):
        read_image_list(write(tmp_path, text), root)


def test_no_list_no_root_and_wrong_encoding(tmp_path, root):
    with pytest.raises(DataError, match=r"nothing\.txt: cannot be read: No such file"):
        read_image_list(tmp_path / "nothing.txt", root)
    with pytest.raises(DataError, match=r"image_root .*nowhere is not a folder"):
        read_image_list(write(tmp_path, "a/1.jpg 0\n"), tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"list\.txt:2: this is not UTF-8 text"):
        read_image_list(write(tmp_path, "a/1.jpg 0\n照片.jpg 0\n", "gb18030"), root)


def test_a_list_without_line_ends_is_not_printed_whole(tmp_path, root):
    with pytest.raises(DataError) as error:
        read_image_list(write(tmp_path, "a" * 100_000 + " 1"), root)
    assert len(str(error.value)) < 1000


def test_an_entry_takes_little_memory(tmp_path):
    """1.28 million lines of 39 bytes, as ImageNet's, must not take 200 MB at any time: 156 bytes a line."""
    count, folders = 50_000, 50
    names = [f"train/n{i % folders:08d}/n{i % folders:08d}_{i}.JPEG" for i in range(count)]
    path = write(tmp_path, "".join(f"{name} {i % 1000}\n" for i, name in enumerate(names)))
    tracemalloc.start()
    images = read_image_list(path, tmp_path, check_files=False)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images.name(count - 1) == names[-1]
    assert kept < 60 * count
    assert peak < 156 * count
