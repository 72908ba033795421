"""Outputs of layers inside a network, beside its logits: those that a distillation compares.

PaddleClas returns them by `return_patterns`, names of layers, and `return_stages`. Features of hidden layers as hints
for a student: FitNets (Romero et al., arXiv 1412.6550).
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Any, Callable, Dict, List, Mapping, Sequence, Union

import paddle
from paddle import Tensor, nn

from ..errors import ConfigError
from ..registry import nearest
from .stages import Stages

LOGITS = "logits"


def layer_name(pattern: str) -> str:
    """Return the name of a layer that PaddleClas writes as `pattern`: blocks.5 of blocks[5]."""
    return re.sub(r"\[(\d+)\]", r".\1", pattern)


def layers_of(
    network: nn.Layer, patterns: Sequence[str], stages: Union[bool, int, Sequence[int], None]
) -> List[str]:
    """Return the names of the layers that `return_patterns` and `return_stages` mean.

    `stages` are numbers of stages from 0, or True for all of them; `patterns` go before them, as in PaddleClas.
    Raises ConfigError: there is no such layer or stage; it names those that there are.
    """
    ends = Stages(network).last_layers
    if patterns:
        known = [name for name, _ in network.named_sublayers()]
        for name in map(layer_name, patterns):
            if name not in known:
                hint = nearest(name, known) or f"; its stages end in {', '.join(ends)}"
                raise ConfigError(f"return_patterns: {network.model_name} has no layer '{name}'{hint}")
        return [layer_name(pattern) for pattern in patterns]
    if stages is None or isinstance(stages, bool):
        return ends if stages else []
    numbers = [stages] if isinstance(stages, int) else stages
    for number in numbers:
        if number >= len(ends):
            raise ConfigError(
                f"return_stages: {network.model_name} has the stages 0 to {len(ends) - 1} ({', '.join(ends)}), "
                f"and no {number}"
            )
    return [ends[number] for number in numbers]


def logits_and_features(network: nn.Layer, images: Tensor, layers: Mapping[str, str]) -> Dict[str, Tensor]:
    """Return the logits (N, K) of images (N, C, H, W), and outputs of `layers` {key: name of the layer}, by key."""
    outputs: Dict[str, Tensor] = {}

    def keep(key: str) -> Callable[..., None]:
        def hook(layer: nn.Layer, inputs: Any, output: Tensor) -> None:
            outputs[key] = output

        return hook

    hooks = [attrgetter(name)(network).register_forward_post_hook(keep(key)) for key, name in layers.items()]
    try:
        return {LOGITS: network(images), **outputs}
    finally:
        for hook in hooks:
            hook.remove()


def feature_shapes(
    network: nn.Layer, layers: Mapping[str, str], image_shape: Sequence[int]
) -> Dict[str, List[int]]:
    """Return {key: shape for one image of `image_shape` (C, H, W)} of `logits_and_features`; the mode is kept."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        with paddle.no_grad():
            found = logits_and_features(network, paddle.zeros([1, *image_shape]), layers)
    finally:
        for layer, training in modes:
            layer.training = training
    return {key: list(output.shape[1:]) for key, output in found.items()}
