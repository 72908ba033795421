"""Folder scans take what the decoder reads, and count and name everything else."""

import logging
import os
import subprocess
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import ClassNames, LeftOut, find_images, iter_images, read_image, scan_image_folder
from ppcls_light.errors import DataError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def picture(path, form):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 7, 3), 90, np.uint8)).save(path, form)


def entries(images):
    return [(images.name(i), images.label(i)) for i in range(len(images))]


def said(caplog):
    """Return the one warning that was logged."""
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    return record.getMessage()


def test_scan_folder(tmp_path):
    for name in (
        "dog/2.png",
        "dog/deep/1.JPEG",
        "cat/a.jpg",
        "cat/._a.jpg",
        "cat/notes.txt",
        "empty/x.txt",
        ".h/a.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    images, names = scan_image_folder(tmp_path)
    assert list(names) == ["cat", "dog"]
    assert entries(images) == [("cat/a.jpg", 0), ("dog/2.png", 1), ("dog/deep/1.JPEG", 1)]
    training = ClassNames(("dog", "cat", "ant"), "labels.txt")
    images, names = scan_image_folder(tmp_path, training)
    assert names is training
    assert images.labels.tolist() == [1, 0, 0]
    with pytest.raises(DataError, match=r"folder 'dog' is none of the 1 classes that labels\.txt names"):
        scan_image_folder(tmp_path, ClassNames(("cat",), "labels.txt"))
    with pytest.raises(DataError, match="no class folder with images"):
        scan_image_folder(tmp_path / "cat")
    with pytest.raises(DataError, match="is not a folder"):
        scan_image_folder(tmp_path / "none")


def test_find_images(tmp_path):
    root = tmp_path / "images"
    make(root, "a/1.jpg", "a/two words.jpg", "b/3\ttab.JPG", "b/图 片.png", "4.jpeg")
    found = find_images(root)
    assert found == [
        os.path.join(str(root), *name.split("/"))
        for name in ("4.jpeg", "a/1.jpg", "a/two words.jpg", "b/3\ttab.JPG", "b/图 片.png")
    ]
    assert find_images(root / "4.jpeg") == [str(root / "4.jpeg")]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images in this folder"):
        find_images(tmp_path / "none")
    with pytest.raises(DataError, match="no such image file or folder"):
        find_images(tmp_path / "gone.jpg")


def test_links_back_to_a_folder_end_and_other_links_are_followed(tmp_path):
    root, other = tmp_path / "photos", tmp_path / "other"
    for path in (root / "cat/a.jpg", other / "b.jpg"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    (root / "cat/up").symlink_to(root)
    (root / "cat/more").symlink_to(other)
    (root / "cat/gone.jpg").symlink_to("nowhere")
    found = [os.path.relpath(path, root) for path in find_images(root)]
    assert found == ["cat/a.jpg", "cat/more/b.jpg"]
    assert len(scan_image_folder(root)[0]) == 2


def test_only_files_are_images(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg/a.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert find_images(tmp_path) == [str(tmp_path / "folder.jpg/a.png")]


def test_a_file_name_that_a_list_cannot_hold_is_named(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"cat/bad\\udcff\.jpg' is not UTF-8; rename"):
        scan_image_folder(tmp_path)


def test_paths_of_a_folder_are_not_held_all_at_once(tmp_path):
    for folder in range(20):
        (tmp_path / f"{folder:02}").mkdir()
        for number in range(200):
            (tmp_path / f"{folder:02}" / f"{number:04}.jpg").touch()
    peaks = []
    for read in (find_images, lambda path: sum(1 for _ in iter_images(path))):
        tracemalloc.start()
        read(tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 5
    assert list(iter_images(tmp_path)) == find_images(tmp_path)


def test_what_the_decoder_reads_is_taken_whatever_it_is_called(tmp_path, caplog):
    files = {
        "a.jfif": "JPEG",
        "b.GIF": "GIF",
        "c.jp2": "JPEG2000",
        "d": "PNG",
        "e.photo": "WEBP",
        "f.jpg": "PNG",
        "g.ppm": "PPM",
        "h.7": "BMP",
        "i.tga": "TGA",
    }
    for name, form in files.items():
        picture(tmp_path / "cat" / name, form)
    found = find_images(tmp_path)
    assert [os.path.basename(path) for path in found] == sorted(files)
    assert {read_image(path).shape for path in found} == {(9, 7, 3)}
    assert [name for name, _ in entries(scan_image_folder(tmp_path)[0])] == [
        f"cat/{name}" for name in sorted(files)
    ]
    assert not caplog.records


def test_everything_else_is_counted_and_named_in_one_line(tmp_path, caplog):
    make(
        tmp_path,
        "cat/a.png",
        "dog/b.png",
        "cat/notes.txt",
        "cat/more.TXT",
        "dog/film.mp4",
        "dog/table",
        "cat/.c.png",
    )
    make(tmp_path, "loose.png", "bird/x.txt")
    (tmp_path / "cat/gone.jpg").symlink_to("nowhere")
    (tmp_path / "cat/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dog/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "dog/pipe.png")
    images, names = scan_image_folder(tmp_path)
    assert list(names) == ["cat", "dog"]
    assert entries(images) == [("cat/a.png", 0), ("dog/b.png", 1)]
    assert said(caplog) == (
        f"{tmp_path}: left out 5 files that are no images (.txt 3, .mp4 1, no suffix 1; the first: bird/x.txt), "
        "1 hidden image (cat/.c.png), 1 image beside the class folders (loose.png), "
        "1 class folder without images (bird), 2 broken links (the first: cat/gone.jpg), "
        "1 link back to a folder above it (dog/up), 1 entry that is no ordinary file (dog/pipe.png)"
    )
    scan_image_folder(tmp_path)
    said(caplog)  # not again


def test_own_files_and_what_systems_leave_behind_are_not_named(tmp_path, caplog):
    make(tmp_path, "cat/a.png", "train_list.txt", "labels.txt", "photos.yaml", "cat/Thumbs.db", "desktop.ini")
    make(
        tmp_path,
        "cat/.DS_Store",
        "cat/._a.png",
        "__MACOSX/cat/._a.png",
        ".ipynb_checkpoints/a.png",
        "@eaDir/a.jpg/b.jpg",
    )
    assert find_images(tmp_path) == [str(tmp_path / "cat/a.png")]
    assert list(scan_image_folder(tmp_path)[1]) == ["cat"]
    assert not caplog.records
    make(tmp_path, "cat/labels.txt")
    scan_image_folder(tmp_path)
    assert "(.txt; cat/labels.txt)" in said(caplog)


def test_the_line_is_one_line_of_bounded_length(tmp_path, caplog):
    make(
        tmp_path,
        "cat/a.png",
        f"cat/{'deep/' * 100}x.mp4",
        *(f"cat/{i}.s{i}" for i in range(300)),
        "cat/0\nb.md",
    )
    find_images(tmp_path)
    line = said(caplog)
    assert "302 files that are no images" in line
    assert len(line) < 500
    assert "\n" not in line


def test_a_folder_without_images_says_what_is_in_it(tmp_path):
    make(tmp_path, "a/notes.txt", "b.pdf")
    for scan in (find_images, scan_image_folder):
        with pytest.raises(DataError, match=r"left out 2 files that are no images \(.txt 1, .pdf 1"):
            scan(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_what_may_not_be_read_is_named(tmp_path, caplog):
    make(tmp_path, "cat/a.png", "cat/unknown", "dog/b.png")
    (tmp_path / "cat/unknown").chmod(0)
    (tmp_path / "dog").chmod(0)
    try:
        assert find_images(tmp_path) == [str(tmp_path / "cat/a.png")]
    finally:
        (tmp_path / "dog").chmod(0o700)
    assert "2 entries that cannot be read (Permission denied 2" in said(caplog)


def names(root, left_out=None):
    return [os.path.relpath(path, root) for path in iter_images(root, left_out)]


def test_links_in_a_fan_are_searched_once(tmp_path):
    """Twelve folders, each with links to all of them: 12 ** 12 paths, and twelve photos."""
    folders = [tmp_path / f"{i:02}" for i in range(12)]
    for folder in folders:
        make(folder, "a.jpg")
        for other in folders:
            (folder / f"to {other.name}").symlink_to(other)
    left_out = LeftOut(tmp_path)
    assert names(tmp_path, left_out) == [f"{i:02}/a.jpg" for i in range(12)]
    assert "132 links to folders that are searched anyway" in left_out.line
    assert "12 links back to a folder above them" in left_out.line
    images, classes = scan_image_folder(tmp_path)
    assert len(classes) == len(images) == 12


def test_links_to_folders_elsewhere_are_searched_once(tmp_path):
    root, other = tmp_path / "photos", tmp_path / "other"
    make(root, "b.jpg")
    make(other, "x.jpg", "deep/y.jpg")
    (other / "back").symlink_to(root)
    for name in ("c", "d"):
        (root / name).symlink_to(other)
    (root / "e").symlink_to(other / "deep")
    (root / "up").symlink_to(tmp_path)
    assert names(root) == ["b.jpg", "c/deep/y.jpg", "c/x.jpg"]
    assert names(tmp_path) == ["other/deep/y.jpg", "other/x.jpg", "photos/b.jpg"]


def test_a_link_into_a_hidden_folder_is_followed(tmp_path):
    """Data sets are kept so: photos in .store, and class folders that are links."""
    make(tmp_path, ".store/1/a.jpg", ".store/2/b.jpg")
    for name, kept in (("cat", "1"), ("dog", "2")):
        (tmp_path / name).symlink_to(tmp_path / ".store" / kept)
    images, classes = scan_image_folder(tmp_path)
    assert list(classes) == ["cat", "dog"]
    assert entries(images) == [("cat/a.jpg", 0), ("dog/b.jpg", 1)]


def test_folders_may_be_deeper_than_python_calls(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert names(tmp_path) == ["d/" * 1200 + "a.jpg"]
    finally:
        # pytest's own way to remove a folder calls itself for each one.
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)


def test_links_to_what_is_no_file_are_named(tmp_path, caplog):
    make(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b.png").symlink_to("pipe")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere")
    assert names(tmp_path) == ["a.png"]
    assert said(caplog).endswith(
        "1 broken link (gone.png), 4 entries that are no ordinary files (the first: b.png)"
    )
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(DataError, match="no ordinary file and no folder"):
            find_images(path)


def test_a_search_ends_when_it_is_told_to(tmp_path):
    make(tmp_path, *(f"{i:03}.txt" for i in range(50)), "z.jpg")
    asked = []

    def ended():
        asked.append(True)
        return len(asked) > 10

    assert list(iter_images(tmp_path, ended=ended)) == []
    assert len(asked) < 20
