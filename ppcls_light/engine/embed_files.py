"""Answers and embeddings of a network in training code for image files without labels."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

import numpy as np
import paddle
from paddle import nn

from ..base.probabilities import probabilities
from ..config import Config
from ..data.dataset import ImageDataset
from ..data.image_list import ImageList
from ..data.loader import BatchLoader
from ..data.sampler import BatchSampler
from ..data.scan import utf8
from ..data.transforms.compose import build_transforms
from ..models.embedding import logits_and_embeddings
from .log import LOGGER, StepTimer, progress
from .readers import inference_transforms, worker_count


class Embedded(NamedTuple):
    """N files: `paths`, probabilities float32 (N, K) and embeddings float32 (N, D), what the classifier takes."""

    paths: list[str]
    probabilities: np.ndarray
    embeddings: np.ndarray


def embed_files(model: nn.Layer, config: Config, paths: list[str]) -> Iterator[Embedded]:
    """Yield the answers to the image files `paths`, in batches in their order, prepared as for inference.

    A file that cannot be read is named in the log and left out. `model` is put into eval mode.

    Raises DataError: 20 files in a row cannot be read, or the transforms leave images of different shapes.
    """
    names = (utf8(os.path.abspath(path).replace(os.sep, "/")) for path in paths)
    section = config.reader("Eval")
    sampler = BatchSampler(len(paths), config.batch_size("Eval"), pad=False)
    dataset = ImageDataset(ImageList("", names), build_transforms(inference_transforms(config)))
    loader = BatchLoader(dataset, sampler, worker_count(section.loader.num_workers), max_bad=1.0)
    model.eval()
    timer, steps, read = StepTimer(), len(loader), 0
    with loader, paddle.no_grad(), progress() as show:
        for batch in loader.epoch(0):
            timer.data_ready()
            logits, embeddings = logits_and_embeddings(model, paddle.to_tensor(batch.images))
            logits, embeddings = (values.astype("float32").numpy() for values in (logits, embeddings))
            timer.step_done(len(batch.indices))
            show("Files", batch.number + 1, steps, {}, timer, steps - batch.number - 1)
            read += len(batch.indices)
            answers = probabilities(logits, config.multilabel)
            yield Embedded([paths[index] for index in batch.indices], answers, embeddings)
    if read < len(paths):
        LOGGER.warning("%d of %d files could not be read and are left out", len(paths) - read, len(paths))
