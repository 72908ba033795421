"""Conversion of an export to the formats of other runtimes, each proved in its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ...base.call import call_in_process
from ...base.files import StrPath
from ...bundle.folder import Bundle
from ...errors import ExportError
from ...prediction import Predictor
from ...runtime.options import EngineOptions
from . import TARGETS
from .target import Target


class TargetEngine:
    """`Engine` of a `Target`, on images one by one, so that `Predictor` prepares and answers as it does elsewhere."""

    def __init__(self, target: Target, bundle: Bundle, options: EngineOptions, precision: str):
        self.options = options
        self._run = target.load(bundle.folder, precision, options.cpu_threads or 1)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the graph's first output (N, class_num) for images (N, C, H, W)."""
        return self.run_all(images)[0]

    def run_all(self, images: np.ndarray) -> list[np.ndarray]:
        """Return all outputs of the graph for images (N, C, H, W)."""
        found = [self._run(images[index : index + 1]) for index in range(len(images))]
        return [np.concatenate(outputs) for outputs in zip(*found)]

    def clone(self) -> TargetEngine:
        """Return this engine: its runtime is not shared by threads."""
        return self


def predictor(folder: StrPath, name: str, precision: str, threads: int = 1) -> Predictor:
    """Return a `Predictor` that runs the file of a format in `folder` in the format's own runtime."""

    def make(bundle: Bundle, options: EngineOptions) -> TargetEngine:
        return TargetEngine(TARGETS[name], bundle, options, precision)

    # `make` takes the place of the engine of that name, which needs to be one that computes in fp32 on a CPU
    return Predictor(folder, make_engine=make, engine="onnxruntime", cpu_threads=threads)


def answers(folder: str, name: str, precision: str, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """Return {"probs": (N, class_num)} of image files and the further outputs, by a format's own runtime."""
    runner = predictor(folder, name, precision)
    found = [runner.run_all(runner.preprocess(path)[None]) for path in paths]
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}


def convert(folder: str, name: str, precision: str, onnx_file: str, images: np.ndarray | None = None) -> None:
    """Write the files of a format in a precision into `folder`, from its ONNX graph.

    `images` (N, C, H, W), float32, calibrate int8. Raises ExportError: the converter fails, or leaves a file out.
    """
    target = TARGETS[name]
    task = f"--format {name}: {target.title}'s converter cannot take this network in {precision}"
    call_in_process(_convert, name, folder, precision, onnx_file, images, task=task)
    for file in target.files[precision]:
        if not os.path.isfile(os.path.join(folder, file)):
            raise ExportError(f"{task}: it wrote no {file}")


def _convert(name: str, folder: str, precision: str, onnx_file: str, images: np.ndarray | None) -> None:
    TARGETS[name].convert(onnx_file, folder, precision, np.empty(0, np.float32) if images is None else images)


def served(folder: str, name: str, precision: str, paths: Sequence[StrPath]) -> dict[str, np.ndarray]:
    """Return the `answers` of a format in a new process. Raises ExportError: its runtime fails."""
    task = f"{TARGETS[name].title} cannot run its {precision} file of the export"
    return call_in_process(answers, folder, name, precision, list(map(os.path.abspath, paths)), task=task)
