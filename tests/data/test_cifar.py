"""CIFAR's python version, as Python 2 wrote it; Paddle's own reader of the same tarball is the reference."""

import pickle
import runpy
import tarfile
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_light.data import CifarDataset, build_transforms, read_cifar
from ppcls_light.errors import DataError

writer = runpy.run_path(str(Path(__file__).with_name("cifar_writer.py")))
CLASSES, PER_BATCH, official, pack = (writer[name] for name in ("CLASSES", "PER_BATCH", "official", "pack"))
PLAIN = [
    ("DecodeImage", {}),
    ("NormalizeImage", {"scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "order": ""}),
]


@pytest.fixture
def tarball(tmp_path):
    files = official("cifar-10", np.random.default_rng(0))
    return pack(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)


def samples(images):
    dataset = CifarDataset(images, build_transforms(PLAIN))
    return [dataset.sample(index) for index in range(len(dataset))]


@pytest.mark.parametrize(("split", "count"), [("train", 5 * PER_BATCH), ("test", 4)])
def test_cifar10_is_what_paddle_reads(tarball, split, count):
    images, names = read_cifar(tarball, split, 10)
    theirs = paddle.vision.datasets.Cifar10(data_file=str(tarball), mode=split, download=False, backend="cv2")
    assert list(names) == CLASSES
    assert len(images) == len(theirs) == count
    for index, (image, label) in enumerate(samples(images)):
        expected, expected_label = theirs[index]
        assert np.array_equal(image, expected.transpose(2, 0, 1))
        assert label == expected_label == images.labels[index]


def test_cifar100_is_what_paddle_reads(tmp_path):
    files = official("cifar-100", np.random.default_rng(1))
    path = pack(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    for split in ("train", "test"):
        images, names = read_cifar(path, split, 100)
        theirs = paddle.vision.datasets.Cifar100(
            data_file=str(path), mode=split, download=False, backend="cv2"
        )
        assert names[7] == "class 7"
        for index, (image, label) in enumerate(samples(images)):
            assert np.array_equal(image, theirs[index][0].transpose(2, 0, 1))
            assert label == theirs[index][1]


def test_the_extracted_folder_gives_the_same(tarball, tmp_path):
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = tmp_path / member.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
    packed, _ = read_cifar(tarball, "train", 10)
    images, names = read_cifar(tmp_path / "cifar-10-batches-py", "train", 10)
    assert list(names) == CLASSES
    assert np.array_equal(images.pixels, packed.pixels)
    assert np.array_equal(images.labels, packed.labels)
    assert images.name(3) == packed.name(3) == official("cifar-10", np.random.default_rng(0))["data_batch_1"][
        "filenames"
    ][3]  # fmt: skip


def test_both_backends_and_byte_keys_of_python_3(tmp_path):
    rng = np.random.default_rng(2)
    files = official("cifar-10", rng)
    for name, content in files.items():
        files[name] = pickle.dumps({key.encode(): value for key, value in content.items()}, protocol=2)
    images, _ = read_cifar(pack(tmp_path / "c.tar", "x", files), "test", 10)
    for to_np in (True, False):
        ops = [("DecodeImage", {"backend": "pil", "to_np": to_np}), PLAIN[1]]
        image, _ = CifarDataset(images, build_transforms(ops)).sample(1)
        assert np.array_equal(image, images.pixels[1].reshape(3, 32, 32))


class Attack:
    def __reduce__(self):
        return print, ("the file's code was run",)


def broken(files, name, **changes):
    return {**files, name: {**files[name], **changes}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda files: {**files, "test_batch": pickle.dumps(Attack())},
            "refused: it asks to load builtins.print",
        ),
        (lambda files: {**files, "test_batch": b"\x80\x02}q"}, "is damaged or no tarball of CIFAR"),
        (lambda files: {**files, "test_batch": pickle.dumps([1])}, "holds no dict"),
        (
            lambda files: {key: files[key] for key in ("data_batch_1", "batches.meta")},
            "test_batch of CIFAR-10's",
        ),
        (lambda files: broken(files, "test_batch", labels=[1, 2]), r"shape \(4, 3072\) for 2 labels"),
        (lambda files: broken(files, "test_batch", labels=[0, 1, 2, 10]), "labels are not all from 0 to 9"),
        (lambda files: broken(files, "test_batch", labels=None), r"shape \(4, 3072\) for 0 labels"),
        (lambda files: broken(files, "test_batch", data=[0]), "data is no array of bytes"),
        (
            lambda files: broken(files, "test_batch", data=np.zeros((0, 3072), np.uint8), labels=[]),
            "test_batch: no images",
        ),
        (lambda files: broken(files, "batches.meta", label_names=5), "label_names are no 10 texts"),
        (lambda files: broken(files, "batches.meta", label_names=["cat"]), "label_names are no 10 texts"),
        (lambda files: broken(files, "test_batch", data=np.zeros((4, 3072))), "data is no array of bytes"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_and_runs_nothing(tmp_path, capsys, change, reason):
    files = change(official("cifar-10", np.random.default_rng(3)))
    path = pack(tmp_path / "c.tar.gz", "x", files)
    with pytest.raises(DataError, match=reason) as raised:
        read_cifar(path, "test", 10)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert capsys.readouterr().out == ""


def test_files_that_are_none(tarball, tmp_path):
    with pytest.raises(DataError, match=r"no such file; get cifar-10-python\.tar\.gz from https"):
        read_cifar(tmp_path / "nothing.tar.gz", "train", 10)
    with pytest.raises(DataError, match="train of CIFAR-100's python version is not in it"):
        read_cifar(tarball, "train", 100)
    with pytest.raises(DataError, match="data_batch_1 of CIFAR-10's python version is not in it"):
        read_cifar(tmp_path, "train", 10)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tarball.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"cut\.tar\.gz .*(damaged|cannot read)"):
        read_cifar(cut, "train", 10)
    text = tmp_path / "text.tar.gz"
    text.write_text("hello")
    with pytest.raises(DataError, match=r"text\.tar\.gz .* is damaged or no tarball"):
        read_cifar(text, "train", 10)
