"""A config's network with trained weights as a `Subject`, to be explained."""

from __future__ import annotations

import functools

from ..config import Config
from ..data.transforms.compose import build_transforms
from ..explanation.heat_maps import check_method, heat_maps, probabilities
from ..explanation.subject import Subject
from .classes import class_names
from .network import build_model, trained_weights
from .readers import inference_transforms


def trained_subject(config: Config, method: str, layer: str | None) -> Subject:
    """Return the network of `config`, its images prepared as for `infer`; see `explain.heat_maps.heat_maps`.

    Raises ConfigError: unknown method, or a layer for one that has none; ConfigError, WeightsError: see `build_model`.
    """
    check_method(method, layer)
    weights = trained_weights(config)
    transforms, names = build_transforms(inference_transforms(config)), class_names(config, weights)
    model = build_model(config, weights)
    model.eval()
    return Subject(
        transforms,
        transforms.seen,
        functools.partial(probabilities, model, multilabel=config.multilabel),
        functools.partial(heat_maps, model, method=method, layer=layer, multilabel=config.multilabel),
        method,
        config.postprocess,
        names,
    )
