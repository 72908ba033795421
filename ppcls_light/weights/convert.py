"""Weights under other projects' names and layouts, renamed to this project's keys.

A convolution's weight has the same layout on both sides, (out, in / groups, height, width); a linear
layer's is (out, in) in torch and (in, out) in Paddle. The names stand in the file of each family.
"""

import re
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np

from ..errors import WeightsError
from ..registry import MODELS
from .load import KeyReport, compare_keys, key_shapes


class WeightNames(NamedTuple):
    """Form in which weights of a family come.

    Attributes:
        owner: of the names.
        marker: pattern found in a key of this form, and of none before it.
        rename: a key of theirs to one of ours.
        is_torch: torch's names of a batch norm's statistics and its layout of linear layers.
    """

    owner: str
    marker: str
    rename: Callable[[str], str]
    is_torch: bool = True


PADDLECLAS = WeightNames("PaddleClas'", r"\._mean$", str, is_torch=False)
AUTHORS = WeightNames("the authors'", "", str)  # where our keys are theirs


class Conversion(NamedTuple):
    """Weights under this project's keys.

    `owner` says whose names they came under, `ignored` which keys have no meaning here.
    """

    state: Dict[str, np.ndarray]
    report: KeyReport
    owner: str
    ignored: Tuple[str, ...]


def renaming(*rules):
    """Return the function that applies (pattern, replacement) `rules` to a key, one after another."""

    def rename(key):
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        return key

    return rename


_OF_BATCH_NORM = renaming((r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance"))


def head_options(state, bias):
    """Return the constructor's parameters that the classifier's key `bias` shows, by its size or its absence."""
    return {"class_num": len(state[bias])} if bias in state else {"features_only": True}


def convert_state_dict(state, arch):
    """Return weights of another project under this project's keys, in Paddle's layout and as float32.

    Args:
        state: {key: array} as the authors' network, timm's or PaddleClas' saves it; which is told by the keys.
        arch: a name of `list_models`, in any case: `fasternet_t0` to `fasternet_l` (classifier, the
            detection backbone with its per-output norms, or with layer scale), `edgenext_xx_small` to
            `edgenext_base` and their `_bn_hs` forms, `micronet_m0` to `micronet_m3`, `lcnet_baseline`,
            timm's `lcnet_035` to `lcnet_150`, and the `PPLCNet` names for PaddleClas' own weights.

    Raises:
        ConfigError: unknown `arch`.
        WeightsError: a key is left over, missing or of another shape, or an array is not of floats.
    """
    return convert(state, arch).state


def convert(state, arch, is_ours=False):
    """Return the `Conversion` of `state`; see `convert_state_dict`.

    `is_ours`: it is PaddleClas' or this project's, which the keys of a network without batch norm leave open.
    """
    name, variant = MODELS.canonical(arch), MODELS.get(arch)
    forms = (PADDLECLAS,) if is_ours else variant.family.weight_names
    form = next((form for form in forms if any(re.search(form.marker, key) for key in state)), forms[-1])
    ignored = tuple(key for key in state if key.endswith(".num_batches_tracked"))
    rename = _OF_BATCH_NORM if form.is_torch else str
    renamed = {}
    for key, value in state.items():
        if key in ignored:
            continue
        new_key, value = rename(form.rename(key)), np.asarray(value)
        if new_key in renamed:
            raise WeightsError(
                f"two keys of these weights mean {new_key}, {key} among them; give one network's"
            )
        renamed[new_key] = value.T if form.is_torch and value.ndim == 2 else value
    report = compare_keys(renamed, key_shapes(variant(**variant.family.weight_options(renamed))))
    if not report.fits:
        raise WeightsError(
            f"these weights, read as {form.owner}, are not those of {name}: {report}; "
            "give the name they were trained as"
        )
    not_float = next((key for key, value in renamed.items() if value.dtype.kind != "f"), None)
    if not_float:
        raise WeightsError(f"{not_float} is {renamed[not_float].dtype}; give the weights before quantisation")
    # The first copy: a damaged file may claim any shape, and those of the network are checked by now.
    converted = {key: value.astype(np.float32, order="C", copy=True) for key, value in renamed.items()}
    return Conversion(converted, report, form.owner, ignored)
