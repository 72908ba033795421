"""Features that the losses of a distillation compare: which layers they are, and whether their shapes agree."""

from __future__ import annotations

from typing import Any, Mapping

from paddle import nn

from ..config import Config
from ..config.arch import DistillationArch
from ..config.bind import located
from ..errors import ConfigError
from ..models.features import LOGITS, feature_shapes, layer_name, layers_of

Layers = dict[str, dict[str, str]]  # {network: {key of a loss: name of the layer}}


def compared_layers(config: Config, arch: DistillationArch, networks: Mapping[str, nn.Layer]) -> Layers:
    """Return the layers whose outputs losses of `Loss.Train` take by their `key`, of each of `networks` of `arch`.

    Raises ConfigError: a layer or stage is not there, a key is not among those that a network returns, or two networks
    have features of different shapes; the message names the key to change.
    """
    offered = {name: _offered(config, arch, name, network) for name, network in networks.items()}
    layers: Layers = {}
    for index, loss in enumerate(config.Loss.of("Train")):
        key = getattr(loss, "key", None) or LOGITS
        if key == LOGITS:
            continue
        path = f"Loss.Train.{index}.{type(loss).__name__}"
        with located(config.where(f"{path}.key"), f"{path}.key"):
            for pair in getattr(loss, "model_name_pairs", []):
                for name in pair:
                    _require_offered(arch, name, key, offered)
                    layers.setdefault(name, {})[key] = layer_name(key)
                _require_same_shape(config, key, {name: networks[name] for name in pair})
    return layers


def _offered(config: Config, arch: DistillationArch, name: str, network: nn.Layer) -> list[str]:
    own, path = arch.networks[name], arch.path_of(name)
    with located(config.where(path), path):
        return layers_of(network, own.patterns, own.return_stages)


def _require_offered(arch: DistillationArch, name: str, key: str, offered: Mapping[str, list[str]]) -> None:
    if name not in offered:
        fix = "use key: logits" if name in arch.names else "name a model of Arch.models"
        raise ConfigError(f"{name} is no network here and has no features; {fix}")
    if layer_name(key) not in offered[name]:
        returned = ", ".join(offered[name]) or "none"
        raise ConfigError(
            f"{name} returns no '{key}' (its features: {returned}); add it to "
            f"{arch.path_of(name)}.return_patterns"
        )


def _require_same_shape(config: Config, key: str, pair: Mapping[str, Any]) -> None:
    shapes = {
        name: feature_shapes(network, {key: layer_name(key)}, config.Global.image_shape)[key]
        for name, network in pair.items()
    }
    (first, one), *others = shapes.items()
    for second, other in others:
        if one != other:
            raise ConfigError(
                f"'{key}' of {first} is {one} for an image and that of {second} {other}; compare layers of one shape, "
                "or use key: logits"
            )
