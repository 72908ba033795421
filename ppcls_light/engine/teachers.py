"""Answers of teachers that are no networks of this package: ONNX files and exported folders, run by ONNX Runtime.

A teacher sees each training image once, whole, through its own transforms: not the crops, flips and colours that the
student sees. Its answers are kept on disk (`answers.Answers`), so epochs, runs and ranks share them. Soft labels of a
fixed teacher: Hinton et al., arXiv 1503.02531; with unlabelled images: Cui et al., arXiv 2103.05959.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import paddle

from ..base.files import checksum
from ..bundle.folder import Bundle, read_bundle, split_decode
from ..bundle.onnx import onnx_file
from ..config.arch import DistillationArch
from ..config.bind import located
from ..config.types import Op
from ..data import decode
from ..data.transforms.compose import Compose, build_transforms
from ..errors import ConfigError, DataError, DeviceError
from ..runtime.engines import create_engine, missing_library
from ..runtime.options import EngineOptions
from .answers import Answers
from .classes import StoredClasses
from .distributed import Runtime, raise_on_all_ranks, require_same
from .log import LOGGER

if TYPE_CHECKING:
    from ..config import Config
    from ..config.arch import CachedTeacher
    from ..data.dataset import ImageDataset
    from ..runtime.onnxruntime_engine import OnnxEngine
    from .readers import Reader

BATCH = 32  # images of a forward pass
_SUMS_TO_ONE = 1e-3
LINES = 20  # forward passes between two lines of progress
_LEAST = 1e-30  # probability, so that its logarithm is finite


class Teachers:
    """Answers of all `CachedTeacher`s of a config to the training images.

    Attributes:
        answers: {name: float32 (images, D)}, logits, or embeddings as `standardised`.
        embedding_sizes: {name: D} of those that are embeddings.
    """

    def __init__(self, config: Config, reader: Reader, runtime: Runtime) -> None:
        """Read the answers from their caches; those that are missing are computed by the main process.

        Raises:
            ConfigError: a teacher's file is missing or of another kind, or its answers have the wrong shape.
            DataError: its classes are others than those of the training, or the cache cannot be used.
            DeviceError: ONNX Runtime is not installed.
        """
        self.answers: dict[str, np.ndarray] = {}
        self.embedding_sizes: dict[str, int] = {}
        if not isinstance(config.Arch, DistillationArch) or not config.Arch.cached:
            return
        digests = _digests(reader.loader.dataset)
        for name in config.Arch.cached:
            path = config.Arch.path_of(name)
            with located(config.where(path), path):
                answers = answers_of(config, name, reader, runtime, digests)
                if name in config.Loss.embeddings:
                    self.answers[name] = standardised(answers)
                    self.embedding_sizes[name] = answers.shape[1]
                else:
                    self.answers[name] = as_logits(answers, config.Arch.class_num, name)

    def __bool__(self) -> bool:
        return bool(self.answers)

    def __call__(self, indices: np.ndarray) -> dict[str, paddle.Tensor]:
        """Return {name: answers float32 (N, D)} for images by their places in the list, int (N,)."""
        return {name: paddle.to_tensor(rows[indices]) for name, rows in self.answers.items()}


def as_logits(answers: np.ndarray, class_num: int, name: str) -> np.ndarray:
    """Return `answers` float32 (images, D) as logits of `class_num` classes; probabilities become their logarithms.

    The softmax of these is the same probabilities, and at a temperature what the logits would have given. Rows that
    are not negative and sum to 1 are probabilities. Raises ConfigError: D is not `class_num`.
    """
    if answers.shape[1] != class_num:
        raise ConfigError(
            f"it answers with {answers.shape[1]} numbers, but Arch.class_num is {class_num}; name another of its "
            "outputs by output, or train a classifier of your classes on it: tools/fit_teacher.py"
        )
    known = answers[np.isfinite(answers).all(axis=1)]
    if class_num > 1 and (known >= 0).all() and (np.abs(known.sum(axis=1) - 1) < _SUMS_TO_ONE).all():
        LOGGER.info("%s answers with probabilities; their logarithms are its logits", name)
        return np.log(np.maximum(answers, _LEAST))
    return answers


def standardised(embeddings: np.ndarray) -> np.ndarray:
    """Return `embeddings` float32 (images, D), centred, the variance of their D numbers 1 in the mean.

    An optimizer like Adam changes each weight of a map by about the learning rate, whatever the scale of the answers:
    numbers much smaller than 1 would be overshot at every step.
    """
    known = embeddings[np.isfinite(embeddings).all(axis=1)].astype(np.float64)
    mean = known.mean(axis=0)
    scale = np.sqrt(((known - mean) ** 2).mean())
    if not scale > 0:
        raise ConfigError("it answers the same to every image; name another of its outputs by output")
    return ((embeddings - mean) / scale).astype(np.float32)


def _digests(dataset: ImageDataset) -> list[bytes]:
    """Return the SHA-256 of each image file; b"" for one that cannot be read, which the reader will report."""
    found = []
    for index in range(len(dataset)):
        try:
            found.append(hashlib.sha256(dataset.read(index)).digest())
        except DataError:
            found.append(b"")
    return found


def answers_of(
    config: Config, name: str, reader: Reader, runtime: Runtime, digests: list[bytes] | None = None
) -> np.ndarray:
    """Return the answers of the teacher called `name` to the images of `reader`, float32 (images, D).

    They are as the graph gives them, and not numbers for an image that cannot be read. `digests` are those of the
    images, where they are known. Raises as `Teachers` does.
    """
    spec = config.Arch.cached[name]
    digests = _digests(reader.loader.dataset) if digests is None else digests
    if missing := missing_library("onnxruntime"):
        raise DeviceError(missing)
    bundle = described(spec)
    if bundle.class_names is not None and name not in config.Loss.embeddings:
        fix = f"give a teacher {name} that was trained on these classes"
        stored = StoredClasses(bundle.class_names, {}, bundle.class_names.source)
        stored.require_same(reader.class_names, reader.images, fix)
    ops = [*(bundle.decode or [Op("DecodeImage", {})]), *(bundle.transform_ops or ())]
    answers = Answers(spec.cache, _about(spec, bundle, ops))
    with raise_on_all_ranks(runtime):
        if runtime.is_main:
            answers.read()
            _Work(spec, bundle, build_transforms(ops), name).complete(answers, reader.loader.dataset, digests)
    if not runtime.is_main:
        answers.read()
    rows = answers.rows(digests)
    there = sum(digest in answers for digest in digests)  # none on a node that has a folder of its own
    require_same(there, runtime, f"cache: the number of answers in {answers.folder}")
    return rows


def described(spec: CachedTeacher) -> Bundle:
    """Return the teacher as a Bundle with an ONNX file and transforms."""
    if spec.folder is None:
        assert spec.onnx is not None
        if not os.path.isfile(spec.onnx):
            raise ConfigError(f"onnx: {spec.onnx}: there is no such file; paths begin in the working folder")
        first, others = split_decode(spec.preprocess)
        return Bundle(os.path.dirname(spec.onnx), "onnx", others, first, onnx_file=spec.onnx)
    bundle = read_bundle(spec.folder)
    if bundle.transform_ops is None:
        raise ConfigError(
            f"folder: {spec.folder} has no inference.yml, which says how images are prepared; give its ONNX file by "
            "onnx, and preprocess"
        )
    bundle.onnx_file = onnx_file(bundle)
    return bundle


def _about(spec: CachedTeacher, bundle: Bundle, ops: list[Op]) -> dict[str, Any]:
    """Return all that an answer depends on beside the image."""
    import onnxruntime

    return {
        "network": checksum(bundle.onnx_file or "", ConfigError),
        "output": spec.output,
        "transforms": [[op.name, op.params] for op in ops],
        "versions": {
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opencv": getattr(decode.cv2, "__version__", None),
        },
    }


class _Work:
    """Forward passes of a teacher, from the bytes of image files."""

    def __init__(self, spec: CachedTeacher, bundle: Bundle, transforms: Compose, name: str) -> None:
        options = EngineOptions(engine="onnxruntime", batch_size=None)
        self._engine = cast("OnnxEngine", create_engine(bundle, options))
        self._file, self._output, self._name = bundle.onnx_file, spec.output, name
        self._transforms, self._size = transforms, self._engine.fixed_batch or BATCH
        if spec.output is not None and spec.output not in self._engine.outputs:
            raise ConfigError(
                f"output: {self._file} has no output '{spec.output}', only {', '.join(self._engine.outputs)}"
            )

    def complete(self, answers: Answers, dataset: ImageDataset, digests: list[bytes]) -> None:
        """Compute and keep the answers that are missing to the images of `dataset` that can be read."""
        wanted = {digest: index for index, digest in enumerate(digests) if digest and digest not in answers}
        LOGGER.info(
            "%s: %d of %d images have no answer of %s yet (%s)",
            *(self._name, len(wanted), len(digests), self._file, answers.folder),
        )
        start, done, unread = time.monotonic(), 0, 0
        missing = list(wanted.items())
        for first in range(0, len(missing), self._size):
            read, images = [], []
            for digest, index in missing[first : first + self._size]:
                try:
                    images.append(self._transforms(dataset.read(index)))
                    read.append(digest)
                except DataError:  # the student's reader names it, and leaves it out
                    unread += 1
            for digest, row in zip(read, self.run(images)):
                answers.add(digest, row)
            done += len(images)
            if (first // self._size) % LINES == LINES - 1:
                rate = done / (time.monotonic() - start)
                LOGGER.info("%s: %d of %d images, %.0f images/s", self._name, done, len(missing), rate)
        answers.write()
        if unread:
            LOGGER.warning("%s: %d images cannot be read and have no answer", self._name, unread)

    def run(self, images: list[np.ndarray]) -> np.ndarray:
        """Return the answers float32 (N, D) to prepared images, float32 (C, H, W) each, at most a forward pass of them.

        Raises ConfigError: they differ in shape, or the answers are no rows of numbers.
        """
        if not images:
            return np.zeros((0, 0), np.float32)
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise ConfigError(
                f"preprocess gives images of shapes {' and '.join(str(list(shape)) for shape in sorted(shapes)[:2])}; "
                "end it at one size, with CropImage or ResizeImage.size"
            )
        padding = self._size - len(images) if self._engine.fixed_batch else 0
        found = self._engine.run(np.stack([*images, *[images[-1]] * padding]), self._output)
        kind = getattr(found, "dtype", type(found).__name__)  # a graph of scikit-learn gives a list of dicts
        if not str(kind).startswith("float"):
            raise ConfigError(
                f"{self._file} answers with {kind}, and a teacher with logits, probabilities or embeddings; "
                "name another output of it by output"
            )
        rows = np.asarray(found, np.float32).reshape(len(found), -1) if found.ndim else found
        if rows.ndim != 2 or len(rows) != len(images) + padding or math.prod(found.shape[2:]) != 1:
            raise ConfigError(
                f"{self._file} answers {list(found.shape)} to {len(images) + padding} images, and a teacher a row of "
                "numbers to each; name another output of it by output, or pool its maps in the graph"
            )
        if not np.isfinite(rows).all():
            raise ConfigError(f"{self._file} answers with infinite numbers or none; check preprocess")
        return rows[: len(images)]
