"""`heat_maps`: what in an image speaks for a class, by a method of one's choice."""

from __future__ import annotations

import contextlib
from typing import Iterator, Sequence

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ..errors import ConfigError
from ..registry import MODELS, nearest
from . import cam
from .black_box import heat_maps_of, require_known
from .overlay import finished

_OF_A_LAYER = {"gradcam": cam.gradcam, "layercam": cam.layercam, "scorecam": cam.scorecam}
# The map of a family that each shows: a gradient that differs from place to place needs finer places.
_SHOWN = {"gradcam": "last_map", "layercam": "finer_map", "scorecam": "last_map"}


def heat_maps(
    model: nn.Layer,
    images: np.ndarray,
    classes: Sequence[int] | np.ndarray | None = None,
    method: str = "layercam",
    layer: str | None = None,
    multilabel: bool = False,
) -> np.ndarray:
    """Return a map for each image, float32 (N, H, W) in [0, 1]: what speaks most for the class is 1.

    A map without anything that speaks for the class is zeros. The modes of the network's layers are kept.

    Args:
        model: a network of `create_model`.
        images: as the network takes them, float32 (N, C, H, W).
        classes: (N,); None: those that the network takes the images for.
        method: a name of `black_box.METHODS`. layercam and gradcam cost one pass, scorecam one per channel, smoothgrad
            25, occlusion 170 and lime, which needs scikit-image, 1,000 per image.
        layer: name of the layer (`named_sublayers`) whose map gradcam, layercam and scorecam show; None: `last_map` of
            the network's `family.Family`, for layercam `finer_map`.
        multilabel: the classes are tags, whose probabilities occlusion and lime ask for.

    Raises ConfigError: unknown method or layer, or a layer for a method that has none. UserError: a missing package.
    """
    check_method(method, layer)
    images = np.asarray(images, np.float32)
    with _evaluating(model), paddle.enable_grad():
        chosen = _best(model, images) if classes is None else np.asarray(classes, np.int64)
        if method in _OF_A_LAYER:
            maps = _of_layer(model, layer, method, images, chosen)
        elif method == "smoothgrad":
            maps = cam.smoothgrad(model, images, chosen)
        else:
            return heat_maps_of(lambda batch: probabilities(model, batch, multilabel), images, chosen, method)
    return finished(maps, images)


def check_method(method: str, layer: str | None = None) -> None:
    """Raise ConfigError for an unknown `method`, or one that has no `layer`."""
    require_known(method)
    if layer is not None and method not in _OF_A_LAYER:
        raise ConfigError(f"{method} is of no layer; leave it out, or use {', '.join(_OF_A_LAYER)}")


def probabilities(model: nn.Layer, images: np.ndarray, multilabel: bool = False) -> np.ndarray:
    """Return class probabilities float32 (N, K) of images (N, C, H, W), or those of tags; `model` is in eval mode."""
    with paddle.no_grad():
        logits = model(paddle.to_tensor(images)).astype("float32")
        return (F.sigmoid(logits) if multilabel else F.softmax(logits)).numpy()


def _best(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    parts = (images[start : start + cam.BATCH] for start in range(0, len(images), cam.BATCH))
    return np.concatenate([probabilities(model, part).argmax(axis=1) for part in parts])


def _of_layer(
    model: nn.Layer, name: str | None, method: str, images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return the maps (N, h, w) of the layer called `name`, None: the family's."""
    usual = getattr(MODELS.get(model.model_name).family, _SHOWN[method])(model)
    layers, name = dict(model.named_sublayers()), usual if name is None else name
    if name not in layers:
        hint = nearest(name, layers) or f"; the usual one is '{usual}'"
        raise ConfigError(f"{model.model_name} has no layer '{name}'{hint}")
    try:
        return _OF_A_LAYER[method](model, layers[name], images, classes)
    except ConfigError as error:
        raise ConfigError(f"layer '{name}': {error}, which takes '{usual}'") from None


@contextlib.contextmanager
def _evaluating(model: nn.Layer) -> Iterator[None]:
    """Put `model` into eval mode for the block, and each of its layers back to its own mode afterwards."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
