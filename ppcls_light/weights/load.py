"""Put weights into a network: every key must fit, or the message says what does not and what to do."""

import logging
import os
from typing import NamedTuple, Tuple

import numpy as np

from ..errors import WeightsError
from .io import read_weights

logger = logging.getLogger(__name__)


class KeyReport(NamedTuple):
    """How the keys of some weights compare with those of a network.

    `mismatched` holds (key, shape in the weights, shape in the network); `replaced` the head's keys that
    kept the network's own values because `reset_head` was given.
    """

    loaded: Tuple[str, ...]
    missing: Tuple[str, ...] = ()
    unexpected: Tuple[str, ...] = ()
    mismatched: Tuple[Tuple[str, tuple, tuple], ...] = ()
    replaced: Tuple[str, ...] = ()

    @property
    def fits(self):
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self):
        shapes = [f"{key} {list(given)} instead of {list(own)}" for key, given, own in self.mismatched]
        counts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", shapes),
        )
        parts = [f"{len(names)} {what} ({_shorten(names)})" for what, names in counts if names]
        return f"{len(self.loaded)} keys fit" + "".join(f", {part}" for part in parts)


def compare_keys(state, expected):
    """Return the KeyReport of `state` ({key: array}) against `expected` ({key: shape})."""
    shapes = {key: tuple(np.shape(value)) for key, value in state.items()}
    common = [key for key in expected if key in shapes]
    return KeyReport(
        loaded=tuple(key for key in common if shapes[key] == expected[key]),
        missing=tuple(key for key in expected if key not in shapes),
        unexpected=tuple(key for key in shapes if key not in expected),
        mismatched=tuple((key, shapes[key], expected[key]) for key in common if shapes[key] != expected[key]),
    )


def key_shapes(model):
    """Return {key: shape} of the state dict of `model`."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def load_weights(model, path_or_state, reset_head=False, source="the weights"):
    """Copy weights into `model`, all of them, and return the KeyReport.

    A `features_only` network has no use for a classifier's head (its `spare_prefixes`): it is passed over.

    Args:
        model: a network of `create_model`; its `head_keys` name the classifier's parameters.
        path_or_state: a weights file (see `read_weights`) or {key: array}. Floats of any width become float32.
        reset_head: keep the network's own values for the head's keys that the weights lack or have in
            another shape (another class count). This is logged.
        source: what to call weights that are given as a state.

    Raises:
        WeightsError: the file cannot be read, a key is missing, unexpected or of another shape, or a value is not
            finite. The network is then as it was.
    """
    if isinstance(path_or_state, (str, os.PathLike)):
        source, state = os.fspath(path_or_state), read_weights(path_or_state)
    else:
        state = {key: np.asarray(value) for key, value in path_or_state.items()}
    name = getattr(model, "model_name", type(model).__name__)
    head_keys = getattr(model, "head_keys", ())
    state = {
        key: value for key, value in state.items() if not key.startswith(getattr(model, "spare_prefixes", ()))
    }
    report = compare_keys(state, key_shapes(model))
    if reset_head:
        report = _without_head(report, head_keys)
    if not report.fits:
        raise WeightsError(f"{source} cannot be loaded into {name}: {_explain(report, head_keys)}")
    own = model.state_dict()
    wanted = {key: _as_float32(state[key]) for key in report.loaded}
    endless = [
        key for key, value in wanted.items() if value.dtype.kind == "f" and not np.isfinite(value).all()
    ]
    if endless:
        raise WeightsError(
            f"{source}: {len(endless)} of {len(wanted)} weights hold NaN or infinity ({_shorten(endless)}); take "
            "another checkpoint, from before the training diverged"
        )
    missing, unexpected = model.set_state_dict({**wanted, **{key: own[key] for key in report.replaced}})
    if missing or unexpected:
        raise RuntimeError(f"Paddle left keys out of {name}: missing {missing}, unexpected {unexpected}")
    if report.replaced:
        logger.warning(
            "%s: kept the new head of %s (%s); %d other keys loaded",
            source, name, ", ".join(report.replaced), len(report.loaded),
        )  # fmt: skip
    return report


def _without_head(report, head_keys):
    """Move what the head lacks or has in another shape from the report's faults to `replaced`."""
    faulty = {*report.missing, *(key for key, _, _ in report.mismatched)}
    return report._replace(
        missing=tuple(key for key in report.missing if key not in head_keys),
        mismatched=tuple(entry for entry in report.mismatched if entry[0] not in head_keys),
        replaced=tuple(key for key in head_keys if key in faulty),
    )


def _explain(report, head_keys):
    others = _without_head(report, head_keys)
    if report.mismatched and others.fits:
        given, own = next((given[-1], own[-1]) for key, given, own in report.mismatched if key in head_keys)
        return (
            f"the weights have {given} classes, Arch.class_num is {own}; set Arch.class_num={given}, "
            "or -o Global.reset_head=true to train a new head"
        )
    if any("._fake_quant_" in key for key in report.unexpected):
        return f"{report}; they are of quantization-aware training, as it was configured: -o Slim.quant.name=pact"
    return f"{report}; set Arch.name (and its options) to the network these weights were trained with"


def _as_float32(array):
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _shorten(names, shown=3):
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
