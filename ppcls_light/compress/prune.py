"""Filter pruning: removal of channels from a trained network, to give a smaller dense one for fine-tuning.

Convolutions lose the filters that matter least, and the layers that read their channels lose those inputs. The
number that is left depends on the ratio and the widths alone, the same share in every layer, so that a config with
a ratio (`Slim.prune`) describes the pruned network without its weights.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np
from paddle import nn

from ..errors import ConfigError
from ..models import create_model, families, variant
from ..models.layers import make_divisible
from ..models.profile import profile
from ..weights import load_weights
from .quantize import is_quantized


def l1_norm(filters: np.ndarray) -> np.ndarray:
    """Return the L1 norm of each of the `filters` (N, ...): small ones matter little (arXiv 1608.08710)."""
    return np.abs(filters.reshape(len(filters), -1)).sum(axis=1)


def distance_to_others(filters: np.ndarray) -> np.ndarray:
    """Return the summed Euclidean distance of each of the `filters` (N, ...) to the others.

    The nearest to the geometric median can best be replaced by the others (FPGM, arXiv 1811.00250, equation 8).
    """
    flat: np.ndarray = filters.reshape(len(filters), -1).astype("float64")
    squares = (flat**2).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0)).sum(axis=1)


CRITERIA = {"l1_norm": l1_norm, "fpgm": distance_to_others}


def prune(model: nn.Layer, ratio: float, criterion: str = "l1_norm") -> nn.Layer:
    """Return a new network with about `ratio` of the filters of `model` removed from each prunable layer.

    The prunable channels are a fact of each family (`models.family.Pruning`). The rest of them is a multiple of 8,
    which keeps vector units full, at least 8, and at most 10 % less than asked for (`make_divisible`). Layers are
    ranked independently of each other (arXiv 1608.08710, section 3.2) by `criterion`, a key of `CRITERIA`.

    The result equals `model` with the removed channels' values ignored by the layers that read them. Its
    constructor's parameters are in its `options`.

    Raises ConfigError: a family without `pruning`, a ratio that is not between 0 and 1, or one so small that no layer
    loses a filter.
    """
    if not 0 < ratio < 1:
        raise ConfigError(
            f"the pruning ratio {ratio:g} is not between 0 and 1; use 0.3 to remove 30 % of the filters"
        )
    if is_quantized(model):
        raise ConfigError("pruning comes before quantization-aware training; give the weights from before it")
    pruning = variant(model.model_name).family.pruning
    if pruning is None or model.options["features_only"]:
        prunable = sorted({family.network.__name__ for family in families() if family.pruning})
        raise ConfigError(f"{model.model_name} cannot be pruned; classifiers of {' and '.join(prunable)} can")
    groups = list(pruning.groups(model))
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    kept: dict[str, np.ndarray] = {}
    for group in groups:
        filters = state[group.filters]
        count = len(kept[group.share_of]) // 4 if group.share_of else width_after(len(filters), ratio)
        most_important_first = np.argsort(-CRITERIA[criterion](filters), kind="stable")
        kept[group.filters] = np.sort(most_important_first[:count])
    if all(len(indices) == len(state[key]) for key, indices in kept.items()):
        raise ConfigError(
            f"a pruning ratio of {ratio:g} removes nothing: what a layer keeps is a multiple of 8; raise it"
        )
    for group in groups:
        for key, axis in group.cuts.items():
            state[key] = np.take(state[key], kept[group.filters], axis)
    left = {key: len(indices) for key, indices in kept.items()}
    pruned = create_model(model.model_name, **{**model.options, **pruning.options(left)})
    load_weights(pruned, state, source="the pruned weights")
    return pruned


def compression_report(before: nn.Layer, after: nn.Layer, image_shape: Sequence[int]) -> str:
    """Return the costs of one image of `image_shape` (C, H, W) in two networks, as text."""
    costs = [profile(model, image_shape) for model in (before, after)]
    return ", ".join(
        f"{name} {was:,} -> {now:,} ({now / was - 1:+.1%})"
        for name, (was, now) in (
            ("parameters", [cost.params for cost in costs]),
            ("multiply-adds", [cost.multiply_adds for cost in costs]),
        )
    )


def width_after(width: int, ratio: float) -> int:
    """Return the number of `width` channels that stay: a multiple of 8, or all of fewer than 8."""
    return min(width, make_divisible(width * (1 - ratio)))
