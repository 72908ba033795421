"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from the files that https://www.cs.toronto.edu/~kriz/cifar.html offers.

The python version is a tarball of pickles. It is read in place: nothing is unpacked, and of the pickles
nothing but numbers, texts and arrays is built (see `plain_pickle`).
"""

from __future__ import annotations

import os
import re
import tarfile
from typing import Any, Iterable, NamedTuple, Sequence

import numpy as np

from ..base.files import StrPath, open_plain
from ..base.plain_pickle import read_plain_pickle, reading
from ..errors import DataError, UserError
from .classes import ClassNames
from .dataset import ImageDataset
from .image_list import ImageList

SIDE = 32  # pixels
_LARGEST_FILE = 1 << 28  # bytes; CIFAR-100's train has 155 million


class _Layout(NamedTuple):
    """Files of a dataset: the batches of each split, and the keys of labels and of their names."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    meta: str
    names: str


_TRAIN_10 = tuple(f"data_batch_{number}" for number in range(1, 6))
LAYOUTS = {
    10: _Layout(_TRAIN_10, ("test_batch",), "labels", "batches.meta", "label_names"),
    100: _Layout(("train",), ("test",), "fine_labels", "meta", "fine_label_names"),
}


class CifarImages(ImageList):
    """Images in an array, with the names of the authors' image files.

    `pixels` are uint8 (N, 3072): red, green and blue planes of 32 x 32. `source` is their file or folder.
    """

    def __init__(
        self, source: StrPath, pixels: np.ndarray, labels: Sequence[int], names: Iterable[str]
    ) -> None:
        super().__init__(source, (name.encode(errors="replace") for name in names), labels)
        self.pixels = pixels

    def changes(self) -> list[str]:
        """Return the files that changed since they were read: none is read again."""
        return []

    def path(self, index: int) -> str:
        """Return the place of an entry, for people."""
        return f"{self.source}: {self.name(index)}"

    def content(self, index: int) -> bytes:
        """Return an image file, of the format PPM, with the pixels of an entry."""
        image = self.pixels[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        return b"P6 %d %d 255\n" % (SIDE, SIDE) + image.tobytes()


class CifarDataset(ImageDataset):
    """Samples of `CifarImages`, through the same transforms as photos: each is handed on as a PPM file."""

    image_list: CifarImages

    def read(self, index: int) -> bytes:
        """Return the bytes of an image file with the pixels of an entry."""
        return self.image_list.content(index)

    def changed(self, index: int) -> bool:
        """Return False: the images are in memory."""
        return False


def read_cifar(data_file: StrPath, split: str, class_num: int) -> tuple[CifarImages, ClassNames]:
    """Read the split "train" or "test" of CIFAR-10 (`class_num` 10) or CIFAR-100 (100).

    `data_file` is cifar-10-python.tar.gz or cifar-100-python.tar.gz, or the folder that it unpacks to.
    Raises DataError: it is missing, damaged, of another dataset, or asks to load code.
    """
    layout = LAYOUTS[class_num]
    batches = layout.train if split == "train" else layout.test
    wanted = (*batches, layout.meta)
    if not os.path.exists(data_file):
        raise DataError(
            f"{data_file}: there is no such file; get cifar-{class_num}-python.tar.gz from "
            "https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    found = _from_folder(data_file, wanted) if os.path.isdir(data_file) else _from_tarball(data_file, wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{data_file}: {missing[0]} of CIFAR-{class_num}'s python version is not in it; give "
            f"cifar-{class_num}-python.tar.gz, or the folder with data_batch_1 or train"
        )
    names = found[layout.meta].get(layout.names)
    names = [_text(name) for name in names] if isinstance(names, list) else []
    if len(names) != class_num or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{data_file}: {layout.meta}: {layout.names} are no {class_num} texts; download it again"
        )
    parts = [_part(data_file, name, found[name], layout.labels, class_num) for name in batches]
    pixels, labels, file_names = map(np.concatenate, zip(*parts))
    if not len(labels):
        raise DataError(f"{data_file}: {', '.join(batches)}: no images; download it again")
    return (
        CifarImages(data_file, pixels, labels, map(str, file_names)),
        ClassNames(tuple(names), os.fspath(data_file)),
    )


def _from_folder(folder: StrPath, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return {file name: its dict} of those of `wanted` that are in `folder`."""
    found = {}
    for name in wanted:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with reading(path, "batch of CIFAR", DataError), open_plain(path) as file:
                found[name] = _load(file)
    return found


def _from_tarball(path: StrPath, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return {file name: its dict} of those of `wanted` that are in the tarball `path`, in whatever folder."""
    found = {}
    with (
        reading(path, "tarball of CIFAR", DataError),
        open_plain(path) as file,
        tarfile.open(fileobj=file) as archive,
    ):
        for member in archive:
            name = re.split(r"[/\\]", member.name)[-1]
            if name in wanted and member.isfile():
                if member.size > _LARGEST_FILE:
                    raise DataError(f"{name} has {member.size} bytes, more than any file of CIFAR")
                found[name] = _load(archive.extractfile(member))
    return found


def _load(file: Any) -> dict[str, Any]:
    content = read_plain_pickle(file, encoding="latin1")
    if not isinstance(content, dict):
        raise UserError("it holds no dict as CIFAR's files do")
    return {_text(key): value for key, value in content.items()}


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _part(
    source: StrPath, name: str, content: dict[str, Any], label_key: str, class_num: int
) -> tuple[np.ndarray, list[int], list[str]]:
    """Return (pixels, labels, file names) of one batch, checked."""
    pixels, labels = content.get("data"), content.get(label_key)
    labels = labels if isinstance(labels, list) else []
    count = len(labels)
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8):
        problem = "data is no array of bytes"
    elif pixels.shape != (count, 3 * SIDE * SIDE):
        problem = f"data has shape {pixels.shape} for {count} {label_key}"
    elif any(not isinstance(label, int) or not 0 <= label < class_num for label in labels):
        problem = f"{label_key} are not all from 0 to {class_num - 1}"
    else:
        names = content.get("filenames")
        if not isinstance(names, list) or len(names) != count:
            names = [f"{name}[{index}]" for index in range(count)]
        return pixels, labels, [str(_text(name)) for name in names]
    raise DataError(f"{source}: {name}: {problem}; download it again")
