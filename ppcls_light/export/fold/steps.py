"""`fold`: application of the folding passes to a copy of the network."""

from __future__ import annotations

import copy
from typing import Collection, Iterable

from paddle import nn

from ...errors import ConfigError
from ...models import families
from ...models.embedding import classifier
from ...models.layers import PConv
from ...registry import FOLDS
from . import edgenext, micronet  # noqa: F401 - importing them registers their folds
from .norms import fold_batch_norms, fold_batch_norms_before


def fold(model: nn.Layer, steps: Collection[str] | None = None, keep_embedding: bool = False) -> nn.Layer:
    """Return a deep copy of `model` in eval mode that computes the same with less work.

    With `keep_embedding` the input of its `classifier` stays the same, too: no factor in front of that goes into it.

    `steps` names some of `GENERAL` and `FOLDS`, taken in the order there; None: `GENERAL` and the `folds` of each
    family that has a network in `model`. `export_model` compares the outputs afterwards. Raises ConfigError: an
    unknown step.
    """
    known = {**GENERAL, **{name: FOLDS.get(name) for name in FOLDS.names()}}
    if steps is None:
        layers = model.sublayers(include_self=True)
        inside = (one for one in families() if any(isinstance(layer, one.network) for layer in layers))
        steps = {*GENERAL, *(name for family in inside for name in family.folds)}
    unknown = [name for name in steps if name not in known]
    if unknown:
        raise ConfigError(f"no step '{unknown[0]}' of folding; there are: {', '.join(known)}")
    folded = copy.deepcopy(model)
    if keep_embedding:
        classifier(folded).keeps_input = True
    for name, step in known.items():
        if name in steps:
            step(folded)
    folded.eval()
    return folded


def fold_dropouts(model: nn.Layer) -> None:
    """Replace every Dropout of `model` by an Identity, if that is possible.

    In the mode `upscale_in_train` it does nothing in eval mode. In PP-LCNet's `downscale_in_infer` it then
    multiplies by 1 - p, which goes into the weights of the Linear that follows it, directly or after a
    Flatten, in the order in which their parent defines its children.
    """
    for parent in model.sublayers(include_self=True):
        children = list(parent.named_children())
        for i, (name, layer) in enumerate(children):
            if not isinstance(layer, nn.Dropout):
                continue
            if layer.mode == "downscale_in_infer":
                linear = _following_linear(child for _, child in children[i + 1 :])
                if linear is None or getattr(linear, "keeps_input", False):
                    continue
                linear.weight.set_value(linear.weight * (1 - layer.p))
            parent.add_sublayer(name, nn.Identity())


def _following_linear(layers: Iterable[nn.Layer]) -> nn.Linear | None:
    for layer in layers:
        if not isinstance(layer, (nn.Flatten, nn.Identity)):
            return layer if isinstance(layer, nn.Linear) else None
    return None


def fold_pconv(model: nn.Layer) -> None:
    """Put the two parts of every partial convolution together by `split_cat`.

    It is the fastest of the exact forms in Paddle Inference with oneDNN: writing into a copy (`slicing`), a
    slice with zero-padded weights in the 1x1 convolution after it, and a group convolution with identities
    take longer.
    """
    for layer in model.sublayers():
        if isinstance(layer, PConv):
            layer.mode = "split_cat"


# For networks of every family, before the steps of the families. Each changes the copy so that its outputs in eval
# mode stay the same.
GENERAL = {
    "batch_norm": fold_batch_norms,
    "batch_norm_before": fold_batch_norms_before,
    "dropout": fold_dropouts,
    "pconv": fold_pconv,
}
