"""`Target`: a format of another runtime, its converter, and the runtime that proves it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import ExportError

Run = Callable[[np.ndarray], "list[np.ndarray]"]


@dataclass(frozen=True)
class Target:
    """A format of `--format`. Its two functions run in processes of their own, and may print or crash there.

    Attributes:
        name: of `--format`.
        title: name of the runtime, in messages.
        extra: of this package, which installs `packages`.
        packages: modules that converter and runtime import.
        files: {precision: names of the files, the graph first}.
        convert: (onnx_file, folder, precision, images) writes `files` of a precision into `folder`. onnx_file has the
            input x, float32 (batch, C, H, W), or the photos of `takes_photos`; images (N, C, H, W) calibrate int8.
        load: (folder, precision, threads) returns a function from one image (1, C, H, W), float32, to the outputs of
            the graph in its order.
        layout: of the input in the file; `load` takes NCHW all the same.
        install: the command for `packages` where the extra alone does not bring them.
        takes_photos: whether a graph with `Global.export_preprocess` converts, images (1, H, W, 3), uint8.
    """

    name: str
    title: str
    extra: str
    packages: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    convert: Callable[[str, str, str, np.ndarray], None]
    load: Callable[[str, str, int], Run]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    takes_photos: bool = False
    install: str = ""

    def check(self, precisions: Collection[str], photos: bool) -> None:
        """Raise ExportError: a package is missing, or the format has not these precisions or no photos."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise ExportError(
                f"--format {self.name} needs {' and '.join(missing)}, which is not here; "
                + (self.install or f'pip install "ppcls_light[{self.extra}]"')
            )
        lacking = [precision for precision in precisions if precision not in self.files]
        if lacking:
            raise ExportError(
                f"--format {self.name}: {self.title} has no {lacking[0]} here; Global.export_precision can be "
                f"{' or '.join(self.files)}"
            )
        if photos and not self.takes_photos:
            raise ExportError(
                f"--format {self.name}: {self.title} takes prepared images of one size; leave out "
                "Global.export_preprocess"
            )


def fixed_to_one_image(onnx_file: str) -> tuple[Any, list[int]]:
    """Return the ONNX model of a file for one image, and the shape of its input, [1, C, H, W]."""
    import onnx

    model = onnx.load(onnx_file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model, [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
