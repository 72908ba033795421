"""Suspected label errors of a folder of class folders, by the look-alikes of each image in an index of embeddings.

No image votes for itself, so the answers are of images that were not learned, as confident learning wants them, and the
labels of a training can be checked without a training. That holds for a network that never saw the labels, such as
one trained on ImageNet; one that learned them has put wrongly labelled images beside those of the wrong class.
"""

from __future__ import annotations

import os

import numpy as np

from ..base.files import results, write_text
from ..base.tables import write_csv
from ..data.dataset import ImageDataset
from ..data.image_list import ImageList
from ..data.transforms.compose import Compose
from ..predict.neighbours import Index, votes
from ..predict.similar import VOTERS
from .evaluation import Evaluation
from .folder import LABEL_ERRORS, label_errors
from .html import page
from .page import suspects
from .pictures import Pictures

_SHOWN = 200  # pictures on the page


def left_out_votes(index: Index, labels: np.ndarray, class_num: int) -> np.ndarray:
    """Return class scores float64 (N, class_num) of the images of `index` by the `labels` (N,) of 20 others each."""
    ids, cosines = index.others(VOTERS)
    return votes(labels[ids], cosines, class_num)


def write_label_errors(folder: str, index: Index) -> Evaluation:
    """Write label_errors.csv and label_errors.html of the class folders of `index` into `folder`; return the answers.

    Files of another index that are there are set aside, see `files.results`.

    Raises DataError: the index is not of class folders. UserError: a file cannot be written.
    """
    names, labels = index.classes()
    probabilities = left_out_votes(index, labels, len(names))
    images = ImageList(index.root, map(os.fsencode, index.names), labels)
    evaluation = Evaluation(images, probabilities, probabilities.argmax(axis=1), names)
    pictures = Pictures(ImageDataset(images, Compose([])))
    with results(folder) as scratch:
        write_csv(os.path.join(scratch, LABEL_ERRORS), *label_errors(evaluation))
        title = f"Label errors among {len(labels):,} images"
        write_text(
            os.path.join(scratch, "label_errors.html"), page(title, *suspects(evaluation, pictures, _SHOWN))
        )
    return evaluation
