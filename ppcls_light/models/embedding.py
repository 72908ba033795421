"""Embeddings: what a network's classifier takes, (N, D), beside the logits that it makes of them.

The embedding of an image is the input of the last linear layer as it is in eval mode, without normalisation: cosine
similarity divides by the lengths itself. It is what transfer by a linear classifier starts from (Kornblith et al.,
arXiv 1805.08974, section 3).
"""

from __future__ import annotations

from typing import List, Tuple

from paddle import Tensor, nn
from paddle.nn.quant.quant_layers import QuantizedLinear

from ..errors import ConfigError

_LINEAR = (nn.Linear, QuantizedLinear)


def classifier(network: nn.Layer) -> nn.Layer:
    """Return the linear layer that makes the logits, which has `weight` (D, K).

    It is the one of the network's `head_keys`; in a network without them the last one that is defined. MicroNet's has
    a batch norm and a Hardswish behind it. Raises ConfigError: there is none; an ML-Decoder looks at a map.
    """
    keys = getattr(network, "head_keys", None)
    found = [
        layer
        for name, layer in network.named_sublayers()
        if isinstance(layer, _LINEAR) and (keys is None or f"{name}.weight" in keys)
    ]
    if not found or getattr(network, "ml_decoder", None):
        raise ConfigError(
            f"{type(network).__name__} ends in no linear layer, whose input would be the embedding; export it without "
            "embeddings"
        )
    return found[-1]


def logits_and_embeddings(network: nn.Layer, images: Tensor) -> Tuple[Tensor, Tensor]:
    """Return (logits (N, K), embeddings (N, D)) of images (N, C, H, W), in the mode that the network is in."""
    taken: List[Tensor] = []

    def take(layer: nn.Layer, inputs: Tuple[Tensor, ...]) -> None:
        taken.append(inputs[0])

    hook = classifier(network).register_forward_pre_hook(take)
    try:
        logits = network(images)
    finally:
        hook.remove()
    return logits, taken[-1]
