"""Rows of a classifier that are kept when a training starts from weights of other classes, or of another order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import paddle
from paddle import nn

from ..data.classes import ClassNames
from ..errors import WeightsError, listed
from ..models import create_model
from ..weights import read_pretrained
from ..weights.io import State
from .classes import stored_classes
from .log import LOGGER


def keep_rows(model: nn.Layer, weights: str, names: ClassNames | None, state: State | None = None) -> bool:
    """Give each class of `names` the row of its name in the classifier of `weights`, and new classes a random one.

    `model`, a network of `create_model`, has the rest of the file `weights` already; `state` is what it holds, if it
    has been read. What was kept is logged. Returns False, and changes nothing, unless the states beside the file name
    its classes. Raises WeightsError: they name more classes or fewer than the classifier has.
    """
    stored = stored_classes(weights)
    if stored is None or stored.names is None or names is None:
        return False
    if stored.names.names == names.names:
        return True
    if getattr(model, "ml_decoder", None):
        LOGGER.warning(
            "an ML-Decoder has no rows to be kept by name: it is that of %s, in the order of its tags",
            weights,
        )
        return True
    before, now = _places(stored.names), _places(names)
    common = [name for name in now if name in before]
    state = read_pretrained(weights, model.model_name).state if state is None else state
    wrong = next((key for key in model.head_keys if state[key].shape[-1] != len(stored.names)), None)
    if wrong:
        raise WeightsError(
            f"{stored.names.source} names {len(stored.names)} classes, but {wrong} in {weights} has "
            f"{state[wrong].shape[-1]}: they are of two trainings; copy both files of one, or take the first away"
        )
    fresh, own = create_model(model.model_name, **model.options).state_dict(), model.state_dict()
    for key in model.head_keys:
        rows = fresh[key].numpy()  # the last axis is that of the classes
        rows[..., [now[name] for name in common]] = state[key][..., [before[name] for name in common]]
        own[key].set_value(paddle.to_tensor(rows.astype(np.float32)))
    gone = [name for name in stored.names if name not in common]
    others = (("new", [name for name in names if name not in common]), ("gone", gone))
    LOGGER.info(
        "the classifier keeps %d rows of %s by their classes' names (%s)%s",
        *(len(common), weights, listed(common)),
        "".join(f"; {word}: {listed(which)}" for word, which in others if which),
    )
    return True


def _places(names: ClassNames) -> dict[str, int]:
    """Return {name: label} of the names that only one class has."""
    times = Counter(names)
    return {name: label for label, name in enumerate(names) if times[name] == 1}
