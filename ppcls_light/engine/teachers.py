"""Answers of teachers that are no networks of this package: ONNX files and exported folders.

A teacher sees each training image once, whole, through its own transforms, and its answers are kept on disk
(`answers.Answers`), so that epochs, runs and ranks share them; or it sees each crop that the student sees
(`views.Views`). Soft labels of a fixed teacher: Hinton et al., arXiv 1503.02531; with unlabelled images: Cui et
al., arXiv 2103.05959.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable

import numpy as np
import paddle

from ..base.hints import command
from ..config.bind import located
from ..errors import ConfigError, DataError, DeviceError
from ..registry import TRANSFORMS
from ..runtime.engines import missing_library
from .answers import Answers
from .classes import StoredClasses
from .distributed import Runtime, raise_on_all_ranks, require_same
from .log import LOGGER
from .teacher_graph import TeacherGraph, described_answers
from .views import Views

if TYPE_CHECKING:
    from ..config import Config
    from ..config.arch import GraphTeacher
    from ..config.types import Op
    from ..data.dataset import ImageDataset
    from ..data.loader import Batch
    from .readers import Reader

_SUMS_TO_ONE = 1e-3
LINES = 20  # forward passes between two lines of progress
SAMPLE = 512  # whole images whose answers tell probabilities from logits, and the scale of embeddings
_LEAST = 1e-30  # probability, so that its logarithm is finite

Rows = Callable[[np.ndarray], np.ndarray]


class Teachers:
    """Answers of all `GraphTeacher`s of a config to the training images.

    Attributes:
        answers: {name: float32 (images, D)} of those that see whole images: logits, or scaled embeddings.
        embedding_sizes: {name: D} of those that are embeddings.
    """

    def __init__(self, config: Config, reader: Reader, runtime: Runtime) -> None:
        """Read the answers from their caches; those that are missing are computed by the main process.

        Teachers that see crops are asked by the reader, from here on.

        Raises:
            ConfigError: a teacher's file is missing or of another kind, or its answers have the wrong shape.
            DataError: its classes are others than those of the training, or the cache cannot be used.
            DeviceError: ONNX Runtime is not installed.
        """
        self.answers: dict[str, np.ndarray] = {}
        self.embedding_sizes: dict[str, int] = {}
        self._scales: dict[str, Rows] = {}  # of teachers that see crops
        teachers = config.Arch.graph_teachers
        if not teachers:
            return
        dataset, seeing = reader.loader.dataset, []
        step = max(1, len(dataset) // SAMPLE)
        sample = digests_of(dataset, range(0, len(dataset), step))
        every = digests_of(dataset) if any(spec.sees == "image" for spec in teachers.values()) else sample
        for name, spec in teachers.items():
            path = config.Arch.path_of(name)
            with located(config.where(path), path):
                graph = _opened(config, name, reader)
                found = answers_of(graph, spec, dataset, runtime, every if spec.sees == "image" else sample)
                known = found[np.isfinite(found).all(axis=1)]
                if name in config.Loss.embeddings:
                    scale = standardising(known)
                    self.embedding_sizes[name] = found.shape[1]
                else:
                    scale = as_logits(known, config.Arch.class_num, name, config.multilabel)
                if spec.sees == "image":
                    self.answers[name] = scale(found)
                else:
                    self._scales[name] = scale
                    seeing.append(graph)
        if seeing:
            about = {"views": [_as_drawn(op) for op in config.reader("Train").dataset.transform_ops]}
            path = config.Arch.path_of(seeing[0].name)
            with located(config.where(path), path):
                reader.loader.ask(Views(seeing, dataset, teachers[seeing[0].name].cache, about))

    def __bool__(self) -> bool:
        return bool(self.answers or self._scales)

    def __call__(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """Return {name: answers float32 (N, D)} to the images of a training batch."""
        rows = {name: rows[batch.indices] for name, rows in self.answers.items()}
        rows.update((name, scale(batch.answers[name])) for name, scale in self._scales.items())
        return {name: paddle.to_tensor(found) for name, found in rows.items()}


def as_logits(answers: np.ndarray, class_num: int, name: str, multilabel: bool = False) -> Rows:
    """Return the function that makes logits of `class_num` classes of answers like these, float32 (N, D).

    Rows that are not negative and sum to 1 are probabilities, whose logarithms are logits: their softmax is the same
    probabilities, and at a temperature what the logits would have given. Tags, with `multilabel`, are independent: all
    answers from 0 to 1 are their probabilities, and the logarithms of the odds are logits.

    Raises ConfigError: D is not `class_num`.
    """
    if answers.shape[1] != class_num:
        raise ConfigError(
            f"it answers with {answers.shape[1]} numbers, but Arch.class_num is {class_num}; name another of its "
            f"outputs by output, or train a classifier of your classes on it: {command('fit-teacher')}"
        )
    if multilabel:
        if not ((answers >= 0) & (answers <= 1)).all():
            return lambda rows: rows
        LOGGER.info(
            "%s answers with probabilities of tags; the logarithms of their odds are its logits", name
        )
        return lambda rows: np.log(np.maximum(rows, _LEAST)) - np.log(np.maximum(1 - rows, _LEAST))
    if class_num > 1 and (answers >= 0).all() and (np.abs(answers.sum(axis=1) - 1) < _SUMS_TO_ONE).all():
        LOGGER.info("%s answers with probabilities; their logarithms are its logits", name)
        return lambda rows: np.log(np.maximum(rows, _LEAST))
    return lambda rows: rows


def standardising(embeddings: np.ndarray) -> Rows:
    """Return the function that centres embeddings like these, float32 (N, D), and makes their mean variance 1.

    An optimizer like Adam changes each weight of a map by about the learning rate, whatever the scale of the answers:
    numbers much smaller than 1 would be overshot at every step.
    """
    known = embeddings.astype(np.float64)
    mean = known.mean(axis=0)
    scale = np.sqrt(((known - mean) ** 2).mean())
    if not scale > 0:
        raise ConfigError("it answers the same to every image; name another of its outputs by output")
    return lambda rows: ((rows - mean) / scale).astype(np.float32)


def digests_of(dataset: ImageDataset, among: Iterable[int] | None = None) -> list[bytes]:
    """Return the SHA-256 of each image file; b"" for one not `among` the places, or that cannot be read."""
    wanted = range(len(dataset)) if among is None else among
    found = [b""] * len(dataset)
    for index in wanted:
        with contextlib.suppress(DataError):  # the student's reader names it, and leaves it out
            found[index] = hashlib.sha256(dataset.read(index)).digest()
    return found


def embeddings_of(config: Config, name: str, reader: Reader, runtime: Runtime) -> np.ndarray:
    """Return the answers of the teacher called `name` to the images of `reader`, float32 (images, D), as they are."""
    graph, dataset = _opened(config, name, reader), reader.loader.dataset
    return answers_of(graph, config.Arch.graph_teachers[name], dataset, runtime, digests_of(dataset))


def _opened(config: Config, name: str, reader: Reader) -> TeacherGraph:
    """Return the graph of the teacher called `name`, whose classes are those of the training."""
    if missing := missing_library("onnxruntime"):
        raise DeviceError(missing)
    spec = config.Arch.graph_teachers[name]
    graph = TeacherGraph(spec, name, threads=1 if spec.sees == "crop" else None)
    if name not in config.Loss.embeddings:
        bundle, fix = graph.bundle, f"give a teacher {name} that was trained on these classes"
        source = bundle.folder if bundle.class_names is None else bundle.class_names.source
        multilabel = bundle.multilabel if bundle.class_num else None  # others do not say it
        stored = StoredClasses(bundle.class_names, {}, source, multilabel)
        stored.require_kind(config.multilabel, fix)
        stored.require_same(reader.class_names, reader.images, fix)
    return graph


def _as_drawn(op: Op) -> tuple[str, dict[str, Any]]:
    """Return a transform of the student as far as it decides on a view: the size is the teacher's."""
    sized = getattr(TRANSFORMS.get(op.name), "resizes_part", False)
    return op.name, {key: value for key, value in op.params.items() if not (sized and key == "size")}


def answers_of(
    graph: TeacherGraph, spec: GraphTeacher, dataset: ImageDataset, runtime: Runtime, digests: list[bytes]
) -> np.ndarray:
    """Return the answers of a teacher to whole images, known by `digests`: float32 (images, D).

    They are as the graph gives them, and not numbers for an image without a digest. Raises as `Teachers` does.
    """
    answers = Answers(spec.cache, described_answers(graph, [graph.output]))
    with raise_on_all_ranks(runtime):
        if runtime.is_main:
            answers.read()
            _complete(answers, graph, dataset, digests)
    if not runtime.is_main:
        answers.read()
    rows = answers.rows(digests)
    there = sum(digest in answers for digest in digests)  # none on a node that has a folder of its own
    require_same(there, runtime, f"cache: the number of answers in {answers.folder}")
    return rows


def _complete(answers: Answers, graph: TeacherGraph, dataset: ImageDataset, digests: list[bytes]) -> None:
    """Compute and keep the answers that are missing to the images of `dataset` that can be read."""
    missing = [
        (digest, index)
        for digest, index in {digest: index for index, digest in enumerate(digests) if digest}.items()
        if digest not in answers
    ]
    LOGGER.info(
        "%s: %d of %d images have no answer of %s yet (%s)",
        *(graph.name, len(missing), sum(map(bool, digests)), graph.file, answers.folder),
    )
    start, done, unread, output = time.monotonic(), 0, 0, graph.output
    for first in range(0, len(missing), graph.batch):
        read, images = [], []
        for digest, index in missing[first : first + graph.batch]:
            try:
                images.append(graph.transforms(dataset.read(index)))
                read.append(digest)
            except DataError:  # the student's reader names it, and leaves it out
                unread += 1
        if images:
            for digest, row in zip(read, graph.run(images, [output])[0]):
                answers.add(digest, row)
        done += len(images)
        if (first // graph.batch) % LINES == LINES - 1:
            rate = done / (time.monotonic() - start)
            LOGGER.info("%s: %d of %d images, %.0f images/s", graph.name, done, len(missing), rate)
    answers.write()
    if unread:
        LOGGER.warning("%s: %d images cannot be read and have no answer", graph.name, unread)
