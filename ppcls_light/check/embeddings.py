"""Embeddings of images for a check, by an exported folder, an ONNX file or weights of a training."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Callable, Iterator, Sequence, cast

import numpy as np

from ..bundle.folder import Bundle, read_bundle
from ..config.types import Op
from ..data.decode import read_bytes
from ..data.transforms.compose import build_transforms
from ..errors import ConfigError, DataError
from ..prediction import Predictor
from ..prediction.pipeline import read_ahead
from ..runtime.engines import create_engine
from ..runtime.options import EngineOptions
from .facts import Source

if TYPE_CHECKING:
    from ..runtime.onnxruntime_engine import OnnxEngine

# Yields the embedding float32 (D,) of each image, in order; None for one that it cannot use.
Embed = Callable[[Sequence[Source]], Iterator["np.ndarray | None"]]

BATCH = 16
OUTPUT = "embedding"
# The evaluation of an ImageNet network, for a graph that says nothing of it.
_SCALE, _MEAN, _STD = 1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_IMAGENET = [
    Op("DecodeImage", {}),
    Op("ResizeImage", {"resize_short": 256}),
    Op("CropImage", {"size": 224}),
    Op("NormalizeImage", {"scale": _SCALE, "mean": _MEAN, "std": _STD, "order": ""}),
    Op("ToCHWImage", {}),
]


def embedder(model: str) -> Embed:
    """Return a function that embeds images by `model`: an exported folder with embeddings, or an ONNX file.

    An ONNX file gets images as an ImageNet network does, 224 x 224 pixels; its output is the one called "embedding", or
    else the first.

    Raises ConfigError: there is no such model, or the export has no embeddings. DeviceError: its engine is missing.
    """
    if not model.endswith(".onnx"):
        bundle = read_bundle(model)
        engine = "onnxruntime" if bundle.format == "onnx" else "paddle"
        predictor = Predictor(bundle, batch_size=BATCH, engine=engine)
        next(
            predictor.iter_embed([]), None
        )  # refuses an export without embeddings now, and not minutes later
        return _of_predictor(predictor)
    if not os.path.isfile(model):
        raise ConfigError(f"{model}: there is no such file")
    return _of_graph(model)


def _of_predictor(predictor: Predictor) -> Embed:
    def embed(sources: Sequence[Source]) -> Iterator[np.ndarray | None]:
        for row in predictor.iter_embed(list(sources)):
            yield row.get("embedding")

    return embed


def _of_graph(path: str) -> Embed:
    bundle = Bundle(os.path.dirname(path), "onnx", onnx_file=path)
    engine = cast("OnnxEngine", create_engine(bundle, EngineOptions(engine="onnxruntime", batch_size=None)))
    transforms = build_transforms(_IMAGENET)
    output = OUTPUT if OUTPUT in engine.outputs else engine.outputs[0]

    def prepare(source: Source) -> np.ndarray:
        return transforms(read_bytes(source) if isinstance(source, str) else source)

    def embed(sources: Sequence[Source]) -> Iterator[np.ndarray | None]:
        with contextlib.closing(read_ahead(sources, prepare, engine.fixed_batch or BATCH)) as batches:
            for _, ready in batches:
                yield from _answers(ready)

    def _answers(ready: list[Callable[[], np.ndarray]]) -> Iterator[np.ndarray | None]:
        images: list[np.ndarray | None] = []
        for take in ready:
            try:
                images.append(take())
            except DataError:
                images.append(None)
        known = [image for image in images if image is not None]
        found = iter(engine.run(np.stack(known), output).reshape(len(known), -1) if known else ())
        for image in images:
            yield None if image is None else next(found)

    return embed


def embedded(
    embed: Embed, sources: Sequence[Source], show: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings float32 (M, D), and the places of their images among the `sources`, int64 (M,).

    Images that cannot be used are left out, and so are answers that are no numbers. `show` is called with the number
    of images done. The embeddings take 4 D bytes per image, and are held once.

    Raises ConfigError: the model cannot take the images, or no image has an embedding.
    """
    rows, places = bytearray(), []
    size = 0
    for place, row in enumerate(embed(sources)):
        if row is not None and np.isfinite(row).all():
            rows += np.asarray(row, np.float32).tobytes()
            size = row.size
            places.append(place)
        show(place + 1)
    if not places:
        raise ConfigError("no image has an embedding; is --embeddings the right model?")
    return np.frombuffer(rows, np.float32).reshape(-1, size), np.array(places, np.int64)
