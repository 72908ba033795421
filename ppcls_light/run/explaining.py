"""Explanations of what a `Predictor` answers, by the methods that its network allows."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from ..base.html import Markup, gallery, text
from ..errors import ConfigError
from ..explanation.subject import Explanation, Subject, asked, explained, of_predictor
from ..prediction.items import Items
from ..prediction.predictor import Predictor


class Explanations(List[Explanation]):
    """Explanations of images, in their order."""

    def _repr_html_(self) -> str:
        """Return their pictures for a notebook."""
        return gallery(text(one) if (shown := one._repr_html_()) is None else Markup(shown) for one in self)


def explanations(
    predictor: Predictor,
    images: Any,
    label: str | int | None = None,
    method: str | None = None,
    layer: str | None = None,
) -> Explanations:
    """Return an Explanation of each of `images`; see `models.explain`."""
    subject, items = _subject(predictor, method, layer), Items(images)
    found = Explanations(explained(subject, item, item.name, label) for item in items)
    if items.failure is not None:
        raise items.failure
    return found


def _subject(predictor: Predictor, method: str | None, layer: str | None) -> Subject:
    if predictor.bundle.is_exported:
        if layer is not None:
            raise ConfigError(
                f"layer {layer}: an exported folder shows none; leave it out, or use the checkpoint"
            )
        return asked(predictor, method or "occlusion")
    from ..engine.trained import TrainedEngine
    from ..explanation.heat_maps import check_method, heat_maps

    engine, method = predictor.engine, method or "layercam"
    assert isinstance(engine, TrainedEngine)
    check_method(method, layer)

    def maps(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        with engine.alone():
            return heat_maps(engine.network, images, classes, method, layer, predictor.bundle.multilabel)

    return of_predictor(predictor, maps, method)
