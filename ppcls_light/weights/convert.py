"""Weights under other projects' names and layouts, renamed to this project's keys.

A convolution's weight has the same layout on both sides, (out, in / groups, height, width); a linear
layer's is (out, in) in torch and (in, out) in Paddle. One table row a family: the forms its weights come
in, each told by its keys, and which options of our network the weights show.
"""

import re
from functools import partial
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np

from ..errors import WeightsError
from ..registry import MODELS
from .load import KeyReport, compare_keys, key_shapes


class _Form(NamedTuple):
    owner: str  # whose names they are
    marker: str  # pattern found in a key of this form, and of none before it
    rename: Callable[[str], str]
    is_torch: bool = True


class _Family(NamedTuple):
    arch: str  # pattern of the registered names
    forms: Tuple[_Form, ...]
    options: Callable[[Dict[str, np.ndarray]], dict]  # of our network, from the renamed weights


class Conversion(NamedTuple):
    """Weights under this project's keys.

    `owner` says whose names they came under, `ignored` which keys have no meaning here.
    """

    state: Dict[str, np.ndarray]
    report: KeyReport
    owner: str
    ignored: Tuple[str, ...]


def _rename(*rules):
    """Return the function that applies (pattern, replacement) `rules` to a key, one after another."""

    def rename(key):
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        return key

    return rename


# Our blocks of PP-LCNet are grouped by resolution; lcnet_baseline numbers them through, timm splits blocks5.
_BLOCKS = [f"blocks{stage}.{i}" for stage, depth in enumerate((1, 2, 2, 6, 2), 2) for i in range(depth)]

_BATCH_NORM = ((r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance"))

_PADDLE = _Form("PaddleClas'", r"\._mean$", str, is_torch=False)
_AUTHORS = _Form("the authors'", "", str)

_TIMM_FASTERNET = _rename(
    (r"^stages\.(\d)\.downsample\.", lambda match: f"stages.{2 * int(match[1]) - 1}."),
    (r"^stages\.(\d)\.blocks\.", lambda match: f"stages.{2 * int(match[1])}.blocks."),
    (r"^conv_head\.", "avgpool_pre_head.1."),
    (r"^classifier\.", "head."),
)
_TIMM_EDGENEXT = _rename(
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^(stages\.\d)\.blocks\.", r"\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)
_TIMM_LCNET = _rename(
    (r"^conv_stem\.", "conv1.conv."),
    (r"^bn1\.", "conv1.bn."),
    (r"^blocks\.4\.(\d)\.", lambda match: f"blocks5.{int(match[1]) + 2}."),
    (r"^blocks\.5\.", "blocks6."),
    (r"^blocks\.([0-3])\.", lambda match: f"blocks{int(match[1]) + 2}."),
    (r"\.conv_dw\.", ".dw_conv.conv."),
    (r"\.conv_pw\.", ".pw_conv.conv."),
    (r"^(blocks\d\.\d)\.bn1\.", r"\1.dw_conv.bn."),
    (r"^(blocks\d\.\d)\.bn2\.", r"\1.pw_conv.bn."),
    (r"\.se\.conv_reduce\.", ".se.conv1."),
    (r"\.se\.conv_expand\.", ".se.conv2."),
    (r"^conv_head\.", "last_conv."),
    (r"^classifier\.", "fc."),
)
_BASELINE_LCNET = _rename(
    (r"^blocks\.(\d|1[0-2])\.0\.", lambda match: f"{_BLOCKS[int(match[1])]}."),
    (r"^f\.", "fc."),
)


def _head_options(state, bias="head.bias"):
    return {"class_num": len(state[bias])} if bias in state else {"features_only": True}


def _fasternet_options(state):
    options = _head_options(state)
    if any(key.endswith(".layer_scale") for key in state):
        options["layer_scale_init_value"] = 1.0
    return options


def _lcnet_options(state):
    if "fc.bias" not in state:
        return {}
    return {"class_num": len(state["fc.bias"]), "use_last_conv": "last_conv.weight" in state}


_FAMILIES = (
    _Family(
        r"FasterNet_\w+",
        (_PADDLE, _Form("timm's", r"^conv_head\.|\.downsample\.", _TIMM_FASTERNET), _AUTHORS),
        _fasternet_options,
    ),
    _Family(
        r"EdgeNeXt_\w+",
        (_PADDLE, _Form("timm's", r"^stem\.", _TIMM_EDGENEXT), _AUTHORS),
        _head_options,
    ),
    _Family(
        r"MicroNet_\w+",
        (_PADDLE, _AUTHORS),
        partial(_head_options, bias="classifier.2.linear.0.bias"),
    ),
    # A torch form of its own for each: the networks differ in what the head's keys do not show (dropout_mode).
    _Family(r"PPLCNet\w*", (_PADDLE,), _lcnet_options),
    _Family(r"lcnet_baseline", (_PADDLE, _AUTHORS._replace(rename=_BASELINE_LCNET)), _lcnet_options),
    _Family(r"lcnet_\d+", (_PADDLE, _Form("timm's", "", _TIMM_LCNET)), _lcnet_options),
)


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
    name = MODELS.canonical(arch)
    family = next(family for family in _FAMILIES if re.fullmatch(family.arch, name))
    forms = (_PADDLE,) if is_ours else family.forms
    form = next((form for form in forms if any(re.search(form.marker, key) for key in state)), forms[-1])
    ignored = tuple(key for key in state if key.endswith(".num_batches_tracked"))
    rename = _rename(*_BATCH_NORM) if form.is_torch else str
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
    report = compare_keys(renamed, key_shapes(MODELS.get(name)(**family.options(renamed))))
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
