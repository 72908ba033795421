"""Saving of a network as a static graph for Paddle Inference."""

from __future__ import annotations

import os
from typing import Optional, Sequence, Tuple, Union

import paddle
from paddle import nn

from ..base.files import StrPath
from ..models.embedding import logits_and_embeddings

STEM = "inference"


class WithProbabilities(nn.Layer):
    """`model` with a softmax over its logits, or for tags a sigmoid: images (N, C, H, W) to probabilities (N, K).

    Without `softmax`, which does not concern tags, these are the logits. Behind them come the `further` outputs, of
    `bundle.folder.Further`: embedding (N, D), logits (N, class_num).
    """

    def __init__(
        self, model: nn.Layer, further: Sequence[str] = (), multilabel: bool = False, softmax: bool = True
    ) -> None:
        super().__init__()
        self.model, self.further, self.multilabel = model, tuple(further), multilabel
        self.softmax = softmax

    def forward(self, x: paddle.Tensor) -> Union[paddle.Tensor, Tuple[paddle.Tensor, ...]]:
        if not self.further:
            return self._answer(self.model(x))
        logits, embedding = logits_and_embeddings(self.model, x)
        others = {"embedding": embedding, "logits": logits}
        return (self._answer(logits), *(others[name] for name in self.further))

    def _answer(self, logits: paddle.Tensor) -> paddle.Tensor:
        return probabilities(logits, self.multilabel) if self.softmax or self.multilabel else logits


def probabilities(logits: paddle.Tensor, multilabel: bool) -> paddle.Tensor:
    """Return the probabilities (N, K) of logits (N, K), as `base.probabilities.probabilities`."""
    if not multilabel:
        return nn.functional.softmax(logits, axis=-1)
    # MicroNet's logits come out of a Hardswish, which Paddle's oneDNN passes (3.3) would replace by a sigmoid that
    # follows at once: one layer has one activation there.
    return nn.functional.sigmoid(logits.reshape([0, logits.shape[-1]]))


class Recorded(nn.Layer):
    """`network`, run as it is to record its graph.

    Paddle translates the source of every layer instead, so that a condition on a tensor's values or on the batch
    becomes part of the graph. This is nearly all of the time of an export, and no network here has such a condition.
    """

    def __init__(self, network: nn.Layer) -> None:
        super().__init__()
        self.network = network

    @paddle.jit.not_to_static
    def forward(self, x: paddle.Tensor) -> Union[paddle.Tensor, Tuple[paddle.Tensor, ...]]:
        return self.network(x)


def save_static(
    model: nn.Layer,
    folder: StrPath,
    image_shape: Sequence[int],
    softmax: bool = True,
    further: Sequence[str] = (),
    multilabel: bool = False,
    preprocessing: Optional[nn.Layer] = None,
) -> str:
    """Save `model`, followed by a softmax or a sigmoid, as `folder`/inference.{json,pdiparams} with a dynamic batch.

    Paddle 2.x writes inference.pdmodel (and .pdiparams.info) in place of inference.json; returned is the format, "json"
    or "pdmodel". The image shape (C, H, W) is fixed in the graph; `model` is put into eval mode. `further`,
    `multilabel` and `softmax` are those of `WithProbabilities`. With `preprocessing` before it the graph takes
    photos of any size.
    """
    network: nn.Layer = WithProbabilities(model, further, multilabel, softmax)
    if preprocessing is not None:
        return save_network(nn.Sequential(preprocessing, network), folder, photo_spec())
    # The embedding is taken by a hook, which Paddle's translation of the source does not know.
    records = type(model).__module__.startswith("ppcls_light.") or bool(further)
    return save_network(network, folder, image_spec(image_shape), records)


def save_network(
    network: nn.Layer, folder: StrPath, spec: paddle.static.InputSpec, records: bool = True
) -> str:
    """Save `network` in eval mode as `folder`/inference.{json,pdiparams}; returned is the format, as of `save_static`.

    Its graph is `Recorded` or, without `records`, translated from its source.
    """
    network = Recorded(network) if records else network
    network.eval()
    path = os.path.join(folder, STEM)
    paddle.jit.save(network, path, input_spec=[spec])
    return "json" if os.path.exists(f"{path}.json") else "pdmodel"


def image_spec(image_shape: Sequence[int]) -> paddle.static.InputSpec:
    """Return the graph's one input, `x`: any number of images of `image_shape` (C, H, W)."""
    return paddle.static.InputSpec([None, *image_shape], "float32", "x")


def photo_spec() -> paddle.static.InputSpec:
    """Return the one input, `x`, of a graph with its preprocessing: photos of one size, any number."""
    return paddle.static.InputSpec([None, None, None, 3], "uint8", "x")
