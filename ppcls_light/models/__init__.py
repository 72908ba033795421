"""Networks: `create_model` builds one by name, `list_models` lists the names.

A family is one file (`fasternet`, `micronet`, `pplcnet`, `edgenext`, and the teachers' `resnet_vd`) that registers its
networks when it is imported; every module here is imported. The other modules are what families share.
"""

import fnmatch
import importlib
import pkgutil
from typing import Dict, List, Union

from paddle import nn

from ..base.files import StrPath
from ..config.bind import bind_plain
from ..config.types import plain
from ..errors import ConfigError
from ..registry import MODELS
from ..weights import load_pretrained
from .family import Family, Variant

__all__ = ["create_model", "families", "list_models", "published", "variant"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def create_model(
    name: str,
    class_num: int = 1000,
    pretrained: Union[StrPath, bool, None] = None,
    features_only: bool = False,
    **kwargs: object,
) -> nn.Layer:
    """Build the network registered as `name`.

    Input (N, 3, H, W) float32; output logits (N, class_num), or with `features_only` the list of four
    feature maps whose channels and strides are `.feature_channels` and `.feature_strides`. `.image_shape` is (C, H, W)
    of the published result.
    `create_model(model.model_name, **model.options)` builds another like it.

    Args:
        name: a name of `list_models`, or an alias, in any case.
        class_num: logits.
        pretrained: True for weights that others published (`ppcls_light.list_pretrained`), the name of a training
            there, an https address, or a file (`.pdparams`, `.safetensors`, or torch's). What is elsewhere is fetched
            into ~/.cache/ppcls_light/weights. A classifier of another class count is left as initialised, which is
            logged; everything else must fit. None or False: random weights.
        features_only: leave the classifier out.
        kwargs: parameters of the family's constructor (`PPLCNet`, `FasterNet`, `MicroNet`, `EdgeNeXt`).

    Raises:
        ConfigError: unknown name or parameter, wrong type or value; the message names the nearest right one.
        WeightsError: the weights are missing, cannot be fetched, are damaged or do not fit.
    """
    name, own = MODELS.canonical(name), variant(name)
    options = plain({**own.keywords, **kwargs, "class_num": class_num, "features_only": features_only})
    try:
        model = bind_plain(own.func, options, where=name)
    # Of Paddle, for sizes beyond all bounds; which of them depends on its version.
    except (MemoryError, ArithmeticError, LookupError, RuntimeError, SystemError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in {"class_num": class_num, **kwargs}.items())
        raise ConfigError(
            f"{name} cannot be made with {given}; use other values, or smaller ones "
            f"({type(error).__name__}: {' '.join(str(error).split())[-200:]})"
        ) from error
    model.model_name, model.options = name, {**kwargs, "class_num": class_num, "features_only": features_only}
    model.image_shape = (3, own.image_size, own.image_size)
    if pretrained:
        load_pretrained(model, pretrained, reset_head=True)
    return model


def list_models(pattern: str = "*", teachers: bool = False) -> List[str]:
    """Return the registered names that match the shell-style `pattern`, in any case.

    With `teachers` they are those of the big networks that others are distilled from, which are left out otherwise.
    """
    return [
        name
        for name in MODELS.names()
        if variant(name).family.is_teacher == teachers and fnmatch.fnmatch(name.lower(), pattern.lower())
    ]


def variant(name: str) -> Variant:
    """Return the `family.Variant` called `name`, in any case."""
    found: Variant = MODELS.get(name)
    return found


def families() -> List[Family]:
    """Return every `family.Family`, in order of registration."""
    return list(dict.fromkeys(variant(name).family for name in MODELS.names()))


def published() -> Dict[str, float]:
    """Return {name: top-1 in %} of `list_models()` whose authors published one; see `family.Variant.top1`."""
    found = {name: variant(name).top1 for name in list_models()}
    return {name: top1 for name, top1 in found.items() if top1 is not None}
