"""Rows of images, one for each, and how they are printed; `postprocess` makes them of probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Dict, TypeVar

import numpy as np

from ..errors import DataError, UserError

_NO_NUMBERS = (
    "the network's answer is no number (NaN, infinity); check scale and std of NormalizeImage and the weights"
)


# class_ids, scores, file_name, label_names, and of some bundles unknown, unknown_score; or attributes, output,
# file_name; scores, file_name; file_name, embedding; file_name, error
Row = Dict[str, Any]
Input = TypeVar("Input")


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
    rows: Callable[[np.ndarray, Sequence[str | None]], list[Row]],
) -> list[Row]:
    """Return the rows of `answer_batch`, made by `rows` of what `classify` makes of (N, C, H, W): (N, class_num)."""
    return answer_batch(inputs, names, prepare, lambda images, names: rows(classify(images), names))


def answer_batch(
    inputs: Sequence[Input],
    names: Sequence[str | None],
    prepare: Callable[[Input], np.ndarray],
    answer: Callable[[np.ndarray, Sequence[str | None]], list[Row]],
) -> list[Row]:
    """Return one row for each of `inputs`, in their order; images of one shape are answered together.

    `prepare` makes an array (C, H, W) or (H, W, C) of an input; its DataError, or a decoder's own exception, makes the
    row {file_name, error}. `answer` makes rows of such arrays, stacked, and their names.
    """
    rows: dict[int, Row] = {}
    by_shape: dict[tuple[Any, ...], list[tuple[int, np.ndarray]]] = {}
    for index, one in enumerate(inputs):
        try:
            image = prepare(one)
        except Exception as error:
            if isinstance(error, UserError) and not isinstance(error, DataError):
                raise
            rows[index] = {"file_name": names[index], "error": why(error, names[index])}
        else:
            by_shape.setdefault((image.dtype, *image.shape), []).append((index, image))
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
    """Return a result as PaddleClas' predict_cls prints it; `name` is the file's base name.

    Scores of classes have 2 decimals, those of `ScoreOutput` its own.

    Of an image that is of no class "unknown" and its score come first.
    """
    if "attributes" in row:
        return f"{name}:\t { ({key: row[key] for key in ('attributes', 'output')}) }"
    if "class_ids" not in row:
        return f"{name}:\tscore(s): {row['scores']}"
    scores = ", ".join(f"{score:.2f}" for score in row["scores"])
    unknown = f"unknown ({row['unknown_score']:.3g}), " if row.get("unknown") else ""
    return (
        f"{name}:\t{unknown}class id(s): {row['class_ids']}, score(s): [{scores}], label_name(s): "
        f"{row['label_names']}"
    )
