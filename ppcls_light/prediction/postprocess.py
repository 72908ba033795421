"""`PostProcessor`: probabilities -> rows in PaddleClas' format, by the kind of answer (`config/postprocess.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..config.postprocess import (
    MultiLabelThreshOutput,
    PersonAttribute,
    PostProcess,
    ScoreOutput,
    TableAttribute,
    ThreshOutput,
    Topk,
    VehicleAttribute,
    check_network,
)
from ..data.classes import ClassNames, as_class_names
from ..errors import ConfigError
from . import attributes
from .columns import CLASSES, Columns
from .results import Row, least, no_numbers

SAME_SCORE = 0.05  # engines, threads and precisions differ by less


class PostProcessor:
    """Rows of images by the kind of answer `kind`.

    `class_names` None gives empty `label_names`.

    Raises ConfigError: `topk` is no number from 1 on, or `class_names` are none. DataError: `label_0` and `label_1` are
    the two classes in the other order.
    """

    def __init__(
        self,
        kind: PostProcess,
        class_names: ClassNames | Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        if type(kind) not in _ROWS:
            raise ConfigError(
                f"postprocess is {kind!r}; give a kind of answer, such as ThreshOutput(threshold=0.9) of "
                "ppcls_light.config.postprocess"
            )
        if isinstance(kind, Topk) and not (isinstance(kind.topk, int) and kind.topk > 0):
            raise ConfigError(f"topk is {kind.topk!r}; it is a whole number of classes from 1 on, such as 5")
        self.kind = kind
        self.class_names = None if class_names is None else as_class_names(class_names, "the class names")
        labels = kind.labels if isinstance(kind, ThreshOutput) else None
        if labels is not None and self.class_names is not None:
            self.class_names.require_order(labels, "label_0 and label_1 of PostProcess")
        # Names in the rows, which those of the classes need not be.
        self.shown = self.class_names if labels is None else ClassNames(labels, "label_0 and label_1")

    def check_network(self, class_num: int, multilabel: bool | None = None) -> None:
        """Raise ConfigError when there are more or fewer names than classes, or the kind is of other networks.

        `multilabel`: the classes are tags; None where that is not known.
        """
        if self.class_names is not None and len(self.class_names) != class_num:
            raise ConfigError(
                f"{self.class_names.source}: {len(self.class_names)} class names, but the network has {class_num} "
                "classes; give the label file that the network was trained with"
            )
        try:
            check_network(self.kind, class_num, multilabel)
        except ConfigError as error:
            raise ConfigError(f"PostProcess.{error}") from None

    @property
    def columns(self) -> Columns:
        """Keys of the rows, and how many entries they have."""
        if isinstance(self.kind, Topk):
            return Columns(CLASSES, self.kind.topk)
        if isinstance(self.kind, ThreshOutput):
            return Columns(CLASSES, 1)
        if isinstance(self.kind, MultiLabelThreshOutput):
            return Columns(CLASSES, None)
        return Columns(("scores",) if isinstance(self.kind, ScoreOutput) else ("attributes", "output"), None)

    def __call__(self, probs: np.ndarray, file_names: Sequence[str | None]) -> list[Row]:
        """Return one dict per image, of probabilities (N, class_num).

        Of classes and tags it is {class_ids, scores (5 decimals), file_name, label_names}, of attributes {attributes,
        output, file_name}, output being 1 for each tag above its threshold, of scores {scores, file_name}. Of equal
        probabilities the lower class comes first. Such that are no numbers give {file_name, error}: JSON cannot hold
        them, and they name no class.
        """
        self.check_network(probs.shape[1])
        return [self._row(row, name) for row, name in zip(probs, file_names)]

    def _row(self, probs: np.ndarray, name: str | None) -> Row:
        if not np.isfinite(probs).all():
            return no_numbers(name)
        return {**_ROWS[type(self.kind)](self.kind, probs, self.shown), "file_name": name}

    def agrees(self, row: Row, probs: np.ndarray) -> bool:
        """Return whether `row`, without an error, may be of probabilities (K,) that are `SAME_SCORE` off at most."""
        keys, places = self.columns
        if row.keys() & _ALL_KEYS != set(keys):
            return False
        if "output" in row:
            found, limits = np.array(row["output"]), attributes.thresholds(self.kind)
            return (
                found.shape == probs.shape
                and not (
                    (probs < limits - SAME_SCORE) & (found == 1)
                    | (probs > limits + SAME_SCORE) & (found == 0)
                ).any()
            )
        if "class_ids" not in row:
            return len(row["scores"]) == len(probs) and _near(np.array(row["scores"]), probs)
        ids = np.array(row["class_ids"], int)
        if (ids >= len(probs)).any() or not _near(np.array(row["scores"]), probs[ids]):
            return False
        if isinstance(self.kind, MultiLabelThreshOutput):
            above = probs - np.array(self.kind.limit)
            return not ((above[ids] < -SAME_SCORE).any() or (np.delete(above, ids) > SAME_SCORE).any())
        if isinstance(self.kind, ThreshOutput):
            decisive = probs[1] if len(probs) == 2 else probs.max()
            now = _thresh(self.kind, probs, None)["class_ids"]
            near = len(ids) == 1 and abs(decisive - self.kind.limit) <= SAME_SCORE
            return ids.tolist() == now or near
        best = np.sort(probs)[::-1][:places]  # which are the k best, in any order that the scores allow
        return len(ids) == len(best) and _near(np.sort(probs[ids])[::-1], best)


def _like(probs: np.ndarray, threshold: float | list[float]) -> np.ndarray:
    """Return a threshold as a number like the probabilities: 0.9 in float32 reaches 0.9."""
    return np.asarray(threshold, probs.dtype)


def _near(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((np.abs(first - second) <= SAME_SCORE).all())


def _classes(ids: np.ndarray, probs: np.ndarray, names: ClassNames | None) -> Row:
    return {
        "class_ids": ids.tolist(),
        "scores": np.around(probs[ids].astype("float64"), 5).tolist(),
        "file_name": None,  # to stand here, as in PaddleClas' rows
        "label_names": [] if names is None else [names[i] for i in ids],
    }


def _topk(kind: Topk, probs: np.ndarray, names: ClassNames | None) -> Row:
    return _classes(least(-probs, kind.topk), probs, names)


def _thresh(kind: ThreshOutput, probs: np.ndarray, names: ClassNames | None) -> Row:
    if len(probs) == 2:
        chosen = int(probs[1] >= _like(probs, kind.limit))
    else:
        best = int(probs.argmax())
        chosen = best if probs[best] > _like(probs, kind.limit) else kind.default_label_index
    return _classes(np.array([chosen]), probs, names)


def _tags(kind: MultiLabelThreshOutput, probs: np.ndarray, names: ClassNames | None) -> Row:
    return _classes(np.flatnonzero(probs >= _like(probs, kind.limit)), probs, names)


def _attributes(kind: Any, probs: np.ndarray, names: ClassNames | None) -> Row:
    output = attributes.present(kind, probs).astype(int).tolist()
    return {"attributes": attributes.words(kind, probs), "output": output}


def _scores(kind: ScoreOutput, probs: np.ndarray, names: ClassNames | None) -> Row:
    return {"scores": np.around(probs.astype("float64"), kind.decimal_places).tolist()}


_ALL_KEYS = {*CLASSES, "attributes", "output"}
_ROWS: dict[type, Callable[[Any, np.ndarray, ClassNames | None], Row]] = {
    Topk: _topk,
    ThreshOutput: _thresh,
    MultiLabelThreshOutput: _tags,
    PersonAttribute: _attributes,
    VehicleAttribute: _attributes,
    TableAttribute: _attributes,
    ScoreOutput: _scores,
}
