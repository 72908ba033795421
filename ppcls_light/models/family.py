"""`Family` and `Variant`: registration of networks with weight-name rules, pruning groups and folds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Iterable, NamedTuple, Optional, Tuple, Type

import numpy as np
from paddle import nn

from ..registry import MODELS
from ..weights.convert import WeightNames

Prefixes = Tuple[str, ...]


class Group(NamedTuple):
    """Channels that pruning keeps or removes together."""

    filters: str  # key of the convolution whose filters make the channels
    cuts: Dict[str, int]  # {key: axis}, every tensor that has an entry for each channel
    # The `filters` of the group of which these channels are a quarter, as those inside a squeeze-and-excitation are;
    # None: of none.
    share_of: Optional[str] = None


class Pruning(NamedTuple):
    """Prunable channels of a family."""

    groups: Callable[[nn.Layer], Iterable[Group]]  # network to its `Group`s
    # {filters: channels left} to the constructor's parameters of the pruned network.
    options: Callable[[Dict[str, int]], dict]


def conv_and_norm(conv: str, norm: str) -> Dict[str, int]:
    """Return the `cuts` of the outputs of a convolution without bias and its batch norm, given their keys."""
    return {f"{conv}.weight": 0, **{f"{norm}.{name}": 0 for name in ("weight", "bias", "_mean", "_variance")}}


@dataclass(frozen=True, eq=False)
class Family:
    """Networks of one class, and the facts of it that other parts of the package need."""

    # The class. Its instances have `head_keys`, the state-dict keys of the classifier; `spare_prefixes`, with
    # `features_only` those of a classifier's weights that have no place; `feature_channels` and `feature_strides` of
    # the four feature maps.
    network: Type[nn.Layer]
    weight_names: Tuple[WeightNames, ...]  # forms in which weights of it come, tried in this order
    # Weights under our keys to the constructor's parameters that they show.
    weight_options: Callable[[Dict[str, np.ndarray]], dict]
    # Network to the beginnings of the keys of its stem, then of each stage, in the order of the image's way. What comes
    # after the last stage and before the classifier (`head_keys`) is the neck; see `stages.Stages`.
    stages: Callable[[nn.Layer], Tuple[Prefixes, ...]]
    # Network to the name of the layer whose output (N, C, H, W) is pooled over its positions for the classifier.
    # Nothing after it sees positions, so that class activation maps of it are exact up to the curvature of what follows
    # the pooling; see `explain.cam`.
    last_map: Callable[[nn.Layer], str]
    # Network to the name of the last layer whose map has twice that height and width, for heat maps in finer places.
    finer_map: Callable[[nn.Layer], str]
    pruning: Optional[Pruning] = None  # None for a family that cannot be pruned
    folds: Tuple[str, ...] = ()  # of the export, names in `registry.FOLDS`, beside those of every network
    plan: str = ""  # of the export for the engine native, a name in `registry.PLANS`; "": it has none
    is_teacher: bool = False  # big networks that recipes of the others distil from; lists leave them out

    def add(
        self,
        name: str,
        top1: Optional[float] = None,
        image_size: int = 224,
        aliases: Tuple[str, ...] = (),
        **options: object,
    ) -> None:
        """Register the network `name`, also called `aliases`, with the constructor's `options`; see `Variant`."""
        variant = Variant(self.network, **options)
        variant.family, variant.top1, variant.image_size = self, top1, image_size
        MODELS.register(name, aliases)(variant)


class Variant(partial):
    """Constructor of one network: its family's with the options in which it differs."""

    family: Family
    # % on the 50,000 validation images of ImageNet-1k, published by the authors, not measured here. None: they
    # published none.
    top1: Optional[float]
    image_size: int  # height and width in pixels of that result
