"""Images without labels in a training: distillation learns from a teacher's answers to them, the labels' losses do not.

Unlabelled images with a teacher: Cui et al., arXiv 2103.05959, section 3.1.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from typing import Iterable, Iterator

import numpy as np

from ..base.files import read_plain
from ..data.image_list import ImageList, read_image_list
from ..data.scan import find_images
from ..errors import DataError
from .log import LOGGER


def with_unlabelled(images: ImageList, further: str, image_root: str) -> ImageList:
    """Return the training `images` and those of `further`: a folder, or a list of paths below `image_root`.

    Raises DataError: there is no such folder or list, or an image of the list is missing.
    """
    if os.path.isdir(further):
        return images.joined(find_images(further))
    if not os.path.isfile(further):
        raise DataError(f"{further}: no such folder of images, or list of their paths")
    listed = read_image_list(further, image_root, labelled=False)
    return images.joined(listed.path(index) for index in range(len(listed)))


def check_unlabelled(images: ImageList, scored: ImageList | None) -> None:
    """Log how many training `images` have no label; refuse those that are also `scored`, under whatever name.

    Raises DataError: a teacher's answers to images of DataLoader.Eval would be learned, and the score be too high.
    """
    unlabelled = [] if images.labels.ndim > 1 else np.flatnonzero(images.labels < 0).tolist()
    if not unlabelled:
        return
    LOGGER.info(
        "DataLoader.Train: %d images with labels and %d without, of which only distillation learns",
        *(len(images) - len(unlabelled), len(unlabelled)),
    )
    if scored is None:
        return
    paths = [images.path(index) for index in unlabelled]
    same = list(_same_content(paths, (scored.path(index) for index in range(len(scored)))))
    if same:
        raise DataError(
            f"DataLoader.Train.dataset.unlabelled: {len(same)} of the images are those of DataLoader.Eval, for example "
            f"{same[0]}; take them out, or the evaluation scores what was learned"
        )


def _same_content(paths: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """Yield those of `paths` whose bytes are those of a file among `others`; only equal sizes are read."""
    by_size = defaultdict(list)
    for path in others:
        by_size[_size(path)].append(path)
    digests: dict[int, set[bytes]] = {}
    for path in paths:
        size = _size(path)
        if size < 0 or size not in by_size:
            continue
        if size not in digests:
            digests[size] = {_digest(other) for other in by_size[size]}
        if _digest(path) in digests[size]:
            yield path


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else -1


def _digest(path: str) -> bytes:
    return hashlib.sha256(read_plain(path)).digest()
