"""The networks: `create_model` builds one by name, `list_models` says which names there are."""

import fnmatch

from ..config.bind import bind_plain
from ..errors import ConfigError, WeightsError
from ..registry import MODELS
from ..weights import load_weights
from . import edgenext, fasternet, micronet, pplcnet  # noqa: F401 - importing a family registers its variants

__all__ = ["create_model", "list_models"]


def create_model(name, class_num=1000, pretrained=None, features_only=False, **kwargs):
    """Build the network registered as `name`.

    Input (N, 3, H, W) float32; output logits (N, class_num), or with `features_only` the list of four
    feature maps whose channels and strides are `.feature_channels` and `.feature_strides`.
    `create_model(model.model_name, **model.options)` builds another like it.

    Args:
        name: a name of `list_models`, or an alias, in any case.
        class_num: logits.
        pretrained: a `.pdparams` or `.safetensors` file. A classifier of another class count is left as
            initialised, which is logged; everything else must fit. None or False: random weights.
        features_only: leave the classifier out.
        kwargs: parameters of the family's constructor (`PPLCNet`, `FasterNet`, `MicroNet`, `EdgeNeXt`).

    Raises:
        ConfigError: unknown name or parameter, wrong type or value; the message names the nearest right one.
        WeightsError: the weights are missing, damaged or do not fit.
    """
    name, variant = MODELS.canonical(name), MODELS.get(name)
    options = {**variant.keywords, **kwargs, "class_num": class_num, "features_only": features_only}
    try:
        model = bind_plain(variant.func, options, where=name)
    # Of Paddle, for sizes beyond all bounds; which of them depends on its version.
    except (MemoryError, ArithmeticError, LookupError, RuntimeError, SystemError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in {"class_num": class_num, **kwargs}.items())
        raise ConfigError(
            f"{name} cannot be made with {given}; use other values, or smaller ones "
            f"({type(error).__name__}: {' '.join(str(error).split())[-200:]})"
        ) from error
    model.model_name, model.options = name, {**kwargs, "class_num": class_num, "features_only": features_only}
    if pretrained is True:
        raise WeightsError(
            f"{name}: pretrained=True would need a download; fetch the .pdparams file and give its path"
        )
    if pretrained:
        load_weights(model, pretrained, reset_head=True)
    return model


def list_models(pattern="*"):
    """Return the registered names that match the shell-style `pattern`, in any case."""
    return [name for name in MODELS.names() if fnmatch.fnmatch(name.lower(), pattern.lower())]
