"""A converted network as a case of the harness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..export.targets import TARGETS


class TargetCall:
    """A random image of `shape` (C, H, W) through the file of a format in its own runtime on one thread."""

    def __init__(self, folder: str, name: str, precision: str, shape: Sequence[int]) -> None:
        self._run = TARGETS[name].load(folder, precision, 1)
        self._image = np.random.default_rng(0).standard_normal((1, *shape)).astype("float32")

    def __call__(self) -> None:
        self._run(self._image)
