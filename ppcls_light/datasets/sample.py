"""Folders of images, by name, split into train and test and ready for a training."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Callable, Iterator, NamedTuple

from ..base.download import sole_process
from ..base.files import StrPath, remove_orphans, temporary_name, write_text
from ..data import write_image_lists
from ..errors import DataError
from ..registry import nearest
from .archive import home
from .cifar import CIFAR10, write_cifar10
from .clothing import CLOTHING, FULL, write_full, write_part
from .digits import DIGITS, write_digits

ORIGIN_FILE = ".origin.txt"  # the scan of a folder passes over names with a dot


class Sample(NamedTuple):
    """A data set: where it comes from and under what licence, and the function that writes its split folders."""

    origin: str
    write: Callable[[str], None]


SAMPLES = {
    "cifar10": Sample(CIFAR10, write_cifar10),
    "clothing10": Sample(CLOTHING, write_part),
    "clothing10-full": Sample(FULL, write_full),
    "digits": Sample(DIGITS, write_digits),
}


def sample_data(name: str, folder: StrPath | None = None) -> str:
    """Return the absolute path of a folder with the images of a data set; it is written where it is missing.

    The folder has train/CLASS/ and test/CLASS/ ("clothing10-full" also validation/CLASS/) with image files, the lists
    train_list.txt and test_list.txt of a config, labels.txt, and .origin.txt with source and licence.

    | name | images | size | origin |
    |---|---|---|---|
    | clothing10 | 28 train, 12 test of each of 10 classes | 2 MB | in the package; photos of 128 pixels, CC0 |
    | clothing10-full | 3,068 train, 341 validation, 372 test | 106 MB | downloaded from GitHub, CC0 |
    | cifar10 | 50,000 train, 10,000 test | 170 MB | downloaded from www.cs.toronto.edu; 32 x 32 pixels |
    | digits | 1,437 train, 360 test | 1 MB | in the package; enlarged to 32 x 32 pixels, CC BY 4.0 |

    Args:
        name: one of the names above.
        folder: folder to write to; default NAME in datasets of PPCLS_LIGHT_HOME or of ~/.cache/ppcls_light. What is
            there is taken as it is, so that images of your own can stand in for a download.

    Raises:
        DataError: the name is unknown; a download is impossible (the message has the address, and the path where the
            file belongs); or `folder` has something else in it.
    """
    if name not in SAMPLES:
        hint = nearest(name, SAMPLES) or f"; there are {', '.join(SAMPLES)}"
        raise DataError(f"there is no data set '{name}'{hint}")
    own = folder is None
    folder = os.path.abspath(os.path.join(home(), name) if folder is None else os.fspath(folder))
    with (
        sole_process(folder, DataError) if own else contextlib.nullcontext()
    ):  # no lock beside a user's folder
        if not _is_there(name, folder, own):
            with _new_folder(folder) as scratch:
                SAMPLES[name].write(scratch)
                write_image_lists(scratch)
                write_text(os.path.join(scratch, ORIGIN_FILE), _origin(name), DataError)
        elif not os.path.exists(os.path.join(folder, "train_list.txt")):  # images of the user's own
            write_image_lists(folder)
    return folder


def _origin(name: str) -> str:
    return f"{name}\n\n{SAMPLES[name].origin}"


def _is_there(name: str, folder: str, own: bool) -> bool:
    """Return whether `folder` has the data set. Raises DataError: it has something else."""
    if not os.path.lexists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return False
    if own and os.path.isdir(os.path.join(folder, "train")):
        return True
    with contextlib.suppress(OSError), open(os.path.join(folder, ORIGIN_FILE), encoding="utf-8") as file:
        if file.read() == _origin(name):
            return True
    raise DataError(f"{folder} is there and is not what sample_data wrote for {name}; choose another folder")


@contextlib.contextmanager
def _new_folder(folder: str) -> Iterator[str]:
    """Give an empty folder that becomes `folder`, which is missing or empty, when the block succeeds."""
    parent, name = os.path.split(folder)
    scratch = os.path.join(parent, temporary_name(name))
    try:
        os.makedirs(parent, exist_ok=True)
        remove_orphans(parent)
        os.mkdir(scratch)
        yield scratch
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.rename(scratch, folder)
    except OSError as problem:
        raise DataError(
            f"cannot write {folder}: {problem.strerror or problem}; choose another folder"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
