"""Top-k result rows in PaddleClas' format, from class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Dict, TypeVar

import numpy as np

from ..data.classes import ClassNames, as_class_names
from ..errors import ConfigError, DataError, UserError

_NO_NUMBERS = (
    "the network's answer is no number (NaN, infinity); check scale and std of NormalizeImage and the weights"
)


# class_ids, scores, file_name, label_names, and of some bundles unknown, unknown_score; or file_name, embedding; or
# file_name, error
Row = Dict[str, Any]
Input = TypeVar("Input")


class Topk:
    """The k most probable classes of each image; all when there are fewer.

    `class_names` None gives empty `label_names`. Raises ConfigError: `topk` is no number from 1 on, or `class_names`
    are none.
    """

    def __init__(self, topk: int = 5, class_names: ClassNames | Sequence[str] | dict[int, str] | None = None):
        if not (isinstance(topk, int) and topk > 0):
            raise ConfigError(f"topk is {topk!r}; it is a whole number of classes from 1 on, such as 5")
        self.topk = topk
        self.class_names = None if class_names is None else as_class_names(class_names, "the class names")

    def check_class_num(self, class_num: int) -> None:
        """Raise ConfigError when there are more or fewer names than classes."""
        if self.class_names is not None and len(self.class_names) != class_num:
            raise ConfigError(
                f"{self.class_names.source}: {len(self.class_names)} class names, but the network has {class_num} "
                "classes; give the label file that the network was trained with"
            )

    def __call__(self, probs: np.ndarray, file_names: Sequence[str | None]) -> list[Row]:
        """Return one dict per image: class_ids, scores (5 decimals), file_name, label_names.

        Of equal probabilities, (N, class_num), the lower class comes first. Such that are no numbers give {file_name,
        error}: JSON cannot hold them, and they name no class.
        """
        self.check_class_num(probs.shape[1])
        return [self._row(row, name) for row, name in zip(probs, file_names)]

    def _row(self, probs: np.ndarray, name: str | None) -> Row:
        if not np.isfinite(probs).all():
            return no_numbers(name)
        ids = least(-probs, self.topk)
        return {
            "class_ids": ids.tolist(),
            "scores": np.around(probs[ids].astype("float64"), 5).tolist(),
            "file_name": name,
            "label_names": [] if self.class_names is None else [self.class_names[i] for i in ids],
        }


def least(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` least of `values` (K,), all when there are fewer, the least first.

    Of equal values the earlier comes first.
    """
    last = min(count, len(values)) - 1
    # Sorting all of 1000 takes three times as long.
    candidates = np.flatnonzero(values <= np.partition(values, last)[last])
    return candidates[np.argsort(values[candidates], kind="stable")][: last + 1]


def no_numbers(name: str | None) -> Row:
    """Return the row of an image to which the network's answer is NaN or infinite."""
    return {"file_name": name, "error": _NO_NUMBERS if name is None else f"{name}: {_NO_NUMBERS}"}


def classify_batch(
    inputs: Sequence[Input],
    names: Sequence[str | None],
    prepare: Callable[[Input], np.ndarray],
    classify: Callable[[np.ndarray], np.ndarray],
    topk: Topk,
) -> list[Row]:
    """Return the rows of `answer_batch` by `topk`; `classify` makes probabilities (N, class_num) of (N, C, H, W)."""
    return answer_batch(inputs, names, prepare, lambda images, names: topk(classify(images), names))


def answer_batch(
    inputs: Sequence[Input],
    names: Sequence[str | None],
    prepare: Callable[[Input], np.ndarray],
    answer: Callable[[np.ndarray, Sequence[str | None]], list[Row]],
) -> list[Row]:
    """Return one row for each of `inputs`, in their order; images of one shape are answered together.

    `prepare` makes an array (C, H, W) of an input; its DataError, or a decoder's own exception, makes the row
    {file_name, error}. `answer` makes rows of images (N, C, H, W) and their names.
    """
    rows: dict[int, Row] = {}
    by_shape: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for index, one in enumerate(inputs):
        try:
            image = prepare(one)
        except Exception as error:
            if isinstance(error, UserError) and not isinstance(error, DataError):
                raise
            rows[index] = {"file_name": names[index], "error": why(error, names[index])}
        else:
            by_shape.setdefault(image.shape, []).append((index, image))
    for group in by_shape.values():
        indices, images = zip(*group)
        for index, row in zip(indices, answer(np.stack(images), [names[i] for i in indices])):
            rows[index] = row
    return [rows[index] for index in range(len(inputs))]


def why(error: Exception, name: str | None = None) -> str:
    """Return the reason against an image in one line: a DataError's own words, or the exception of a decoder's bug."""
    if isinstance(error, DataError):
        return str(error)
    text = " ".join(str(error).split())
    problem = f"cannot be decoded: {type(error).__name__}{text and f': {text}'}"
    return problem if name is None else f"{name}: {problem}"


def format_row(name: str, row: Row) -> str:
    """Return a result as PaddleClas' predict_cls prints it, with 2 decimals; `name` is the file's base name.

    Of an image that is of no class "unknown" and its score come first.
    """
    unknown = f"unknown ({row['unknown_score']:.3g}), " if row.get("unknown") else ""
    scores = ", ".join(f"{score:.2f}" for score in row["scores"])
    return (
        f"{name}:\t{unknown}class id(s): {row['class_ids']}, score(s): [{scores}], label_name(s): "
        f"{row['label_names']}"
    )
