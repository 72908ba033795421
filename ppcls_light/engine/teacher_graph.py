"""Teachers that are no networks of this package: ONNX files and exported folders, run by ONNX Runtime.

Without Paddle, since the processes that read images run them, too (`views.Views`).
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Sequence, cast

import numpy as np

from ..base.files import checksum
from ..bundle.folder import Bundle, read_bundle, split_decode
from ..bundle.onnx import onnx_file
from ..config.types import Op
from ..data.opencv import opencv
from ..data.transforms.compose import build_transforms
from ..errors import ConfigError
from ..runtime.engines import create_engine
from ..runtime.options import EngineOptions

if TYPE_CHECKING:
    from ..config.arch import GraphTeacher
    from ..runtime.onnxruntime_engine import OnnxEngine

BATCH = 32  # images of a forward pass


class TeacherGraph:
    """Graph of the teacher called `name`, and the transforms of its images.

    Each process that runs it loads it for itself; `threads` are those of a forward pass, None: one per core.

    Raises ConfigError: a file is missing, or the folder says nothing of its transforms.
    """

    def __init__(self, spec: GraphTeacher, name: str, threads: int | None = None) -> None:
        self.name, self._output = name, spec.output
        self.bundle = described(spec)
        self.ops = [*(self.bundle.decode or [Op("DecodeImage", {})]), *(self.bundle.transform_ops or ())]
        self.transforms = build_transforms(self.ops)
        self.file = self.bundle.onnx_file or ""
        self._options = EngineOptions(engine="onnxruntime", batch_size=None, cpu_threads=threads)
        self._engine: OnnxEngine | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_engine": None}

    @property
    def engine(self) -> OnnxEngine:
        if self._engine is None:
            self._engine = cast("OnnxEngine", create_engine(self.bundle, self._options))
        return self._engine

    @property
    def batch(self) -> int:
        """Images of a forward pass."""
        return self.engine.fixed_batch or BATCH

    @property
    def output(self) -> str:
        """The output that is the answer. Raises ConfigError: the graph has none of that name."""
        if self._output is not None and self._output not in self.engine.outputs:
            raise ConfigError(
                f"output: {self.file} has no output '{self._output}', only {', '.join(self.engine.outputs)}"
            )
        return self._output or self.engine.outputs[0]

    def run(self, images: Sequence[np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the answers float32 (N, D) of each output to prepared images, float32 (C, H, W) each; N > 0.

        Raises ConfigError: the images differ in shape, or the answers are no rows of numbers.
        """
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise ConfigError(
                f"preprocess gives images of shapes {' and '.join(str(list(shape)) for shape in sorted(shapes)[:2])}; "
                "end it at one size, with CropImage or ResizeImage.size"
            )
        parts = []
        for first in range(0, len(images), self.batch):
            part = images[first : first + self.batch]
            padding = self.batch - len(part) if self.engine.fixed_batch else 0
            found = self.engine.run_outputs(np.stack([*part, *[part[-1]] * padding]), outputs)
            parts.append([self._rows(one, len(part), padding) for one in found])
        return [np.concatenate(rows) for rows in zip(*parts)]

    def _rows(self, found: Any, count: int, padding: int) -> np.ndarray:
        """Return what the graph answered to `count` images, and to `padding` copies of one, as rows."""
        kind = getattr(found, "dtype", type(found).__name__)  # a graph of scikit-learn gives a list of dicts
        if not str(kind).startswith("float"):
            raise ConfigError(
                f"{self.file} answers with {kind}, and a teacher with logits, probabilities or embeddings; "
                "name another output of it by output"
            )
        rows = np.asarray(found, np.float32).reshape(len(found), -1) if found.ndim else found
        if rows.ndim != 2 or len(rows) != count + padding or math.prod(found.shape[2:]) != 1:
            raise ConfigError(
                f"{self.file} answers {list(found.shape)} to {count + padding} images, and a teacher a row of "
                "numbers to each; name another output of it by output, or pool its maps in the graph"
            )
        if not np.isfinite(rows).all():
            raise ConfigError(f"{self.file} answers with infinite numbers or none; check preprocess")
        return rows[:count]


def described_answers(graph: TeacherGraph, outputs: Sequence[str]) -> dict[str, Any]:
    """Return all that answers of `graph` depend on beside the image."""
    import onnxruntime

    return {
        "network": checksum(graph.file, ConfigError),
        "output": list(outputs),
        "transforms": [[op.name, op.params] for op in graph.ops],
        "versions": {
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opencv": getattr(opencv(), "__version__", None),
        },
    }


def described(spec: GraphTeacher) -> Bundle:
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
