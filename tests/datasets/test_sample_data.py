"""Folders of images by name: complete, split, never half-written, and fetched with the care of other downloads."""

import hashlib
import io
import runpy
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ppcls_light
from ppcls_light.data import read_class_names, read_image, read_image_list
from ppcls_light.errors import DataError

CLOTHES = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]
FILE = "cifar-10-python.tar.gz"


@pytest.fixture
def home(tmp_path, monkeypatch, file_server):
    """An empty cache; `file_server` stands in for the hosts of the data sets."""
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PPCLS_LIGHT_OFFLINE")
    monkeypatch.setattr("ppcls_light.base.download.WAIT", 0.01)
    return tmp_path / "home/datasets"


@pytest.fixture
def cifar(root, tmp_path, monkeypatch, file_server):
    """A small CIFAR-10 on the server, in the authors' format, and its batches."""
    writer = runpy.run_path(str(root / "tests/data/cifar_writer.py"))
    files = writer["official"]("cifar-10", np.random.default_rng(0))
    path = writer["pack"](tmp_path / FILE, "cifar-10-batches-py", files)
    file_server.files[f"/{FILE}"] = content = path.read_bytes()
    monkeypatch.setattr("ppcls_light.datasets.cifar.URL", f"{file_server.address}/{FILE}")
    monkeypatch.setattr("ppcls_light.datasets.cifar.SHA256", hashlib.sha256(content).hexdigest())
    return files


def listed(folder, split):
    names = read_class_names(f"{folder}/labels.txt")
    images = read_image_list(f"{folder}/{split}_list.txt", folder, len(names))
    return [(images.path(index), names[images.label(index)]) for index in range(len(images))]


def test_photos_of_the_package_are_whole_and_split(home):
    folder = Path(ppcls_light.sample_data("clothing10"))
    assert folder == home / "clothing10"
    seen = set()
    for split, count in (("train", 28), ("test", 12)):
        rows = listed(folder, split)
        assert Counter(label for _, label in rows) == dict.fromkeys(CLOTHES, count)
        for path, label in rows:
            assert Path(path).parent == folder / split / label
            assert min(read_image(path).shape[:2]) == 128
            seen.add(Path(path).name)
    assert len(seen) == 400
    assert "CC0" in (folder / ".origin.txt").read_text()


def test_photos_of_the_package_are_those_of_the_collection_in_their_splits(home, shared):
    folder = Path(ppcls_light.sample_data("clothing10"))
    with zipfile.ZipFile(shared / "data/clothing10_short128.zip") as archive:
        for path in sorted(folder.glob("*/*/*.jpg"))[::20]:
            theirs = Image.open(io.BytesIO(archive.read(path.relative_to(folder).as_posix()))).convert("RGB")
            ours = Image.open(path)
            assert ours.size == theirs.size
            difference = np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).mean()
            assert difference < 6, path  # both were made smaller and compressed


def test_digits_are_scikit_learns(home, tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    folder = Path(ppcls_light.sample_data("digits", tmp_path / "digits"))
    paths = {int(path.stem): path for path in folder.glob("*/*/*.png")}
    assert sorted(paths) == list(range(len(digits.target)))
    for index, path in paths.items():
        assert path.parent.name == str(digits.target[index])
        assert path.parents[1].name == ("train" if index % 5 else "test")
    for index in range(0, len(digits.target), 100):
        small = np.asarray(Image.open(paths[index]).resize((8, 8), Image.Resampling.BOX), float) / 255 * 16
        assert np.abs(small - digits.images[index]).mean() < 1
    assert len(listed(folder, "test")) == 360
    assert not home.exists()  # the folder was another one
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]  # and nothing is beside it


def test_a_folder_that_is_there_is_taken_as_it_is(home, tmp_path):
    folder = Path(ppcls_light.sample_data("digits", tmp_path / "here"))
    gone = folder / "test/0/0000.png"
    gone.unlink()
    assert ppcls_light.sample_data("digits", folder) == str(folder)
    assert not gone.exists()
    with pytest.raises(DataError, match=r"here is there and is not what sample_data wrote for clothing10"):
        ppcls_light.sample_data("clothing10", folder)
    for split in ("train", "test"):  # images of the user's own in the cache
        photo = home / f"cifar10/{split}/cat/{split}.png"
        photo.parent.mkdir(parents=True)
        photo.write_bytes(b"")
    assert ppcls_light.sample_data("cifar10") == str(home / "cifar10")
    assert (home / "cifar10/test_list.txt").read_text() == "test/cat/test.png 0\n"


def test_an_unknown_name_suggests_another():
    with pytest.raises(DataError, match=r"^there is no data set 'clothing'; did you mean 'clothing10'\?$"):
        ppcls_light.sample_data("clothing")
    with pytest.raises(DataError, match="there are cifar10, clothing10, clothing10-full, digits"):
        ppcls_light.sample_data("xyz")


def test_cifar10_is_fetched_once_after_a_cut_and_has_the_authors_pixels(home, cifar, file_server):
    size = len(file_server.files[f"/{FILE}"])
    file_server.faults[f"/{FILE}"] = [file_server.kinds.cut(size // 2)]
    folder = Path(ppcls_light.sample_data("cifar10"))
    assert file_server.asked == [(f"/{FILE}", None), (f"/{FILE}", f"bytes={size // 2}-")]
    names = cifar["batches.meta"]["label_names"]
    assert {path.name for path in (folder / "train").iterdir()} <= set(names)
    first = cifar["test_batch"]
    for index, (pixels, label) in enumerate(zip(first["data"], first["labels"])):
        image = Image.open(folder / f"test/{names[label]}/{index:05d}.png")
        assert (np.asarray(image).transpose(2, 0, 1).ravel() == pixels).all()
    assert len(list((folder / "train").glob("*/*.png"))) == 35
    assert ppcls_light.sample_data("cifar10") == str(folder)
    assert len(file_server.asked) == 2


def test_a_download_that_is_impossible_names_address_and_place(home, cifar, file_server, monkeypatch):
    place = home / FILE
    wanted = rf"{file_server.address}/{FILE}: .*fetch it \(170 MB\) on another machine, and put it at {place}"
    monkeypatch.setenv("PPCLS_LIGHT_OFFLINE", "1")
    with pytest.raises(DataError, match=wanted):
        ppcls_light.sample_data("cifar10")
    assert not file_server.asked
    place.write_bytes(file_server.files[f"/{FILE}"])  # as the message says
    assert len(list(Path(ppcls_light.sample_data("cifar10")).glob("test/*/*"))) == 4


def test_another_file_than_the_known_one_is_refused_and_leaves_nothing(home, cifar, file_server):
    file_server.files[f"/{FILE}"] += b" "
    with pytest.raises(DataError, match="gives a file with the SHA-256"):
        ppcls_light.sample_data("cifar10")
    assert [path.name for path in home.iterdir() if not path.name.endswith(".lock")] == []
    (home / FILE).write_bytes(b"no tarball")
    with pytest.raises(DataError, match=rf"{FILE} is not the right file .* delete it to fetch it again"):
        ppcls_light.sample_data("cifar10")


def test_all_photos_are_known_by_their_content(home, file_server, monkeypatch):
    photos = {f"clothing-{i}/{split}/hat/{i}.jpg": bytes([i]) for i, split in enumerate(("train", "test"))}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in photos.items():
            archive.writestr(name, content)
    file_server.files["/all.zip"] = packed.getvalue()
    monkeypatch.setattr("ppcls_light.datasets.clothing.URL", f"{file_server.address}/all.zip")
    with pytest.raises(DataError, match="gives other photos than those known"):
        ppcls_light.sample_data("clothing10-full")
    known = hashlib.sha256(b"test/hat/1.jpg\x01" + b"train/hat/0.jpg\x00").hexdigest()
    monkeypatch.setattr("ppcls_light.datasets.clothing.SHA256_OF_PHOTOS", known)
    folder = Path(ppcls_light.sample_data("clothing10-full"))
    assert (folder / "train/hat/0.jpg").read_bytes() == b"\x00"


@pytest.mark.parametrize("fault", ["encrypted", "cut short", "of 60 MB"])
def test_an_archive_that_cannot_be_unpacked_is_one_line(home, fault):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "all/train/hat/0.jpg", bytes(60_000_000) if fault == "of 60 MB" else bytes(range(256)) * 9
        )
    data = bytearray(packed.getvalue())
    directory = data.find(b"PK\x01\x02")
    if fault == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    if fault == "cut short":
        data[directory - 200 : directory] = b"\xff" * 200
    file = home / "clothing-dataset-small-1196151651.zip"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    with pytest.raises(DataError, match="gives no zip file of photos"):
        ppcls_light.sample_data("clothing10-full")
    assert not (home / "clothing10-full").exists()


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/x.jpg", "a/../../b.jpg", "train/c:/x.jpg", "a\\b.jpg"])
def test_no_image_is_written_outside_of_the_folder(name, tmp_path):
    from ppcls_light.datasets.archive import write_image

    with pytest.raises(DataError, match="is no name of an image"):
        write_image(str(tmp_path / "in"), name, b"")
    assert list(tmp_path.iterdir()) == []
