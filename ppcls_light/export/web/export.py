"""`WebExport`: what the format `web` adds to an export."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Dict, Sequence

import numpy as np
from paddle import nn

from ...base.call import call_in_process
from ...base.files import StrPath
from ...base.probabilities import probabilities
from ...bundle.folder import read_bundle
from ...config.postprocess import PostProcess, ScoreOutput
from ...data.decode import read_bytes
from ...errors import ExportError
from ..preprocess import Preprocessing
from . import graph, runtime
from .page import FOLDER, write_page

_PACKAGES = ("paddle2onnx", "onnx", "onnxruntime")


@dataclass(frozen=True)
class WebExport:
    """The folder `web/` of an export: the graph of `preprocessing`, the graph of the network, and the page.

    With `cdn` the page takes the runtime from a CDN, else from beside itself; with `webgpu` also the one for
    GPUs. Raises ExportError: a package is missing, or the runtime cannot be had.
    """

    preprocessing: Preprocessing
    cdn: bool = False
    webgpu: bool = False

    def __post_init__(self) -> None:
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ExportError(
                f'--format web needs {" and ".join(missing)}, which is not here; pip install "ppcls_light[onnx]"'
            )
        if not self.cdn:
            runtime.package()  # before any work

    def write_graphs(
        self, folded: nn.Layer, stage: str, kind: PostProcess, further: Sequence[str], multilabel: bool
    ) -> None:
        """Write the graphs of the network `folded`, which answers in `kind`, into the export in `stage`."""
        os.makedirs(_folder(stage))
        softmax = not isinstance(kind, ScoreOutput)
        graph.write_graphs(folded, _folder(stage), self.preprocessing, softmax, further, multilabel)

    def answers(self, stage: str, images: Sequence[StrPath], multilabel: bool) -> Dict[str, Any]:
        """Return {"probs": (N, class_num)} of image files and the further outputs by name, in ONNX Runtime."""
        photos = [self.preprocessing.decode(read_bytes(path)) for path in images]
        found: Dict[str, np.ndarray] = call_in_process(
            *(graph.answers, _folder(stage), self.preprocessing.channels, photos),
            task=f"ONNX Runtime cannot run the graphs of {FOLDER}/",
        )
        return found if "probs" in found else {**found, "probs": probabilities(found["logits"], multilabel)}

    def write_page(self, stage: str) -> None:
        """Write the page beside the graphs, for the answers that inference.yml in `stage` describes."""
        write_page(_folder(stage), read_bundle(stage), self.preprocessing, self.cdn, self.webgpu)


def _folder(stage: str) -> str:
    return os.path.join(stage, FOLDER)
