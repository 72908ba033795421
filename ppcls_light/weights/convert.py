"""Weights of the networks' authors (torch names and layouts), renamed to this project's keys.

A convolution's weight has the same layout on both sides, (out, in / groups, height, width); a linear
layer's is (out, in) in torch and (in, out) in Paddle. One table row a family: which names it takes, how
keys are renamed, and which options of our network the weights show.
"""

import re
from functools import partial
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np

from ..errors import WeightsError
from ..registry import MODELS
from .load import compare_keys, key_shapes


class _Family(NamedTuple):
    arch: str  # pattern of the registered names
    rename: Callable[[str], str]
    options: Callable[[Dict[str, np.ndarray]], dict]


_BATCH_NORM: Tuple[Tuple[str, str], ...] = ((".running_mean", "._mean"), (".running_var", "._variance"))

# lcnet_baseline numbers its depthwise-separable blocks through; ours are grouped by resolution.
_LCNET_BLOCKS = [
    f"blocks{stage}.{i}." for stage, depth in enumerate((1, 2, 2, 6, 2), 2) for i in range(depth)
]


def _rename_lcnet(key):
    block = re.match(r"blocks\.(\d+)\.0\.", key)
    if block and int(block[1]) < len(_LCNET_BLOCKS):
        return _LCNET_BLOCKS[int(block[1])] + key[block.end() :]
    return re.sub(r"^f\.", "fc.", key)


def _lcnet_options(state):
    return {"class_num": len(state["f.bias"])} if "f.bias" in state else {}


def _head_options(state, bias="head.bias"):
    return {"class_num": len(state[bias])} if bias in state else {"features_only": True}


def _fasternet_options(state):
    options = _head_options(state)
    if any(key.endswith(".layer_scale") for key in state):
        options["layer_scale_init_value"] = 1.0
    return options


_FAMILIES = (
    _Family(r"EdgeNeXt_\w+", str, _head_options),
    _Family(r"FasterNet_\w+", str, _fasternet_options),
    _Family(r"MicroNet_\w+", str, partial(_head_options, bias="classifier.2.linear.0.bias")),
    _Family(r"lcnet_baseline", _rename_lcnet, _lcnet_options),
)


def convert_state_dict(state, arch):
    """Return the authors' weights under this project's keys and in Paddle's layout.

    Args:
        state: {torch name: array} as the authors' network saves it.
        arch: a name of `list_models`, in any case: `fasternet_t0` to `fasternet_l` (classifier, the
            detection backbone with its per-output norms, or with layer scale), `lcnet_baseline`,
            `edgenext_xx_small` to `edgenext_base` and their `_bn_hs` forms, `micronet_m0` to `micronet_m3`.

    Raises:
        ConfigError: unknown `arch`.
        WeightsError: no conversion for `arch`, or a key is left over, missing or of another shape.
    """
    name = MODELS.canonical(arch)
    family = next((family for family in _FAMILIES if re.fullmatch(family.arch, name)), None)
    if family is None:
        raise WeightsError(
            f"no conversion for {name}; its weights are PaddleClas' .pdparams, load them directly"
        )
    converted = {}
    for key, value in state.items():
        if key.endswith(".num_batches_tracked"):
            continue
        new_key = family.rename(key)
        for theirs, ours in _BATCH_NORM:
            if new_key.endswith(theirs):
                new_key = new_key[: -len(theirs)] + ours
        value = np.asarray(value)
        converted[new_key] = value.T.copy() if value.ndim == 2 else value
    report = compare_keys(converted, key_shapes(MODELS.get(name)(**family.options(state))))
    if not report.fits:
        raise WeightsError(
            f"these weights are not those of {name}: {report}; give the name they were trained as"
        )
    return converted
