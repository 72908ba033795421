"""Folder of an evaluation's report: tables, the picture of the confusion matrix, and the page that shows them all."""

from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from ..base.figures import save_figure
from .classes import ClassScores, draw_confusion
from .evaluation import Evaluation
from .files import PAGE, Table, cell, report_folder
from .label_next import COLUMNS as NEXT_COLUMNS
from .label_next import NextToLabel
from .page import write_page
from .pictures import Pictures
from .thresholds import ROC_COLUMNS

_IMAGE = ("file", "label", "label_name", "predicted", "predicted_name", "score", "label_score")


def write_report(
    folder: str,
    evaluation: Evaluation,
    card: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Pictures | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    to_label: NextToLabel | None = None,
) -> dict[str, float]:
    """Write the tables of an evaluation and report.html, which shows them, into `folder`; return the summary.

    The files appear together; those of another evaluation that are there are set aside, see `files.results`.

    | file | content |
    |---|---|
    | summary.json | `Evaluation.summary` |
    | per_class.csv | `ClassScores`; empty where there is nothing to divide by |
    | average_precision.csv, precision_recall.csv | by class; the second has up to 100 points of each |
    | confusion_matrix.csv, .png, .svg | rows: labels, columns: predictions |
    | mistakes.csv | images taken for another class, the surest first |
    | label_errors.csv | images whose labels are suspected, the most suspicious first |
    | reliability.csv | calibration: confidence and accuracy by bin |
    | thresholds.csv | share of the answers with at least such a score, and their accuracy |
    | roc.csv | of two classes: rates and numbers of images at every score, by the probability of class 1 |
    | label_next.csv | with `to_label`: images to label next, the first first |
    | card.json | with `card`: {section: {name: value}} about data, network and export |
    | report.html | all of it, with `pictures` and, with the rows of a metrics.jsonl (`history`), learning curves |

    Raises UserError: a file cannot be written.
    """
    with report_folder(folder, evaluation.summary, _tables(evaluation, to_label), card) as scratch:
        save_figure(
            draw_confusion(evaluation.confusion, evaluation.names), os.path.join(scratch, "confusion_matrix")
        )
        write_page(os.path.join(scratch, PAGE), evaluation, card or {}, pictures, history, to_label)
    return evaluation.summary


def _tables(evaluation: Evaluation, to_label: NextToLabel | None) -> dict[str, Table]:
    """Return {file name: (columns, rows)}."""
    two = evaluation.two_classes
    some: dict[str, Table] = {}
    if two is not None:
        some["roc.csv"] = ROC_COLUMNS, (tuple(map(cell, row)) for row in two.rows())
    if to_label is not None:
        some["label_next.csv"] = NEXT_COLUMNS, to_label.rows(evaluation.names)
    names = evaluation.names
    by_class = list(enumerate(names))
    return {
        **some,
        "per_class.csv": (
            ("class_id", "class_name", *ClassScores._fields),
            (
                (*label, *map(cell, row))
                for label, row in zip(by_class, zip(*(values.tolist() for values in evaluation.scores)))
            ),
        ),
        "average_precision.csv": (
            ("class_id", "class_name", "average_precision"),
            ((*label, cell(value)) for label, value in zip(by_class, evaluation.average_precision.tolist())),
        ),
        "precision_recall.csv": (
            ("class_id", "class_name", "threshold", "precision", "recall"),
            (
                (*label, *map(cell, point))
                for label, curve in zip(by_class, evaluation.curves)
                for point in curve.rows()
            ),
        ),
        "confusion_matrix.csv": (
            ("label", *names),
            ((name, *row) for name, row in zip(names, evaluation.confusion.tolist())),
        ),
        "mistakes.csv": (
            _IMAGE,
            (_image(evaluation, index) for index in evaluation.mistakes.tolist()),
        ),
        "label_errors.csv": _label_errors(evaluation),
        "reliability.csv": (
            ("above", "up_to", "images", "confidence", "accuracy"),
            (
                tuple(map(cell, row))
                for row in zip(
                    evaluation.reliability.edges[:-1].tolist(),
                    evaluation.reliability.edges[1:].tolist(),
                    *(values.tolist() for values in evaluation.reliability[1:]),
                )
            ),
        ),
        "thresholds.csv": (
            ("threshold", "coverage", "accuracy"),
            (tuple(map(cell, row)) for row in zip(*(values.tolist() for values in evaluation.coverage))),
        ),
    }


def _label_errors(evaluation: Evaluation) -> Table:
    images = (
        (*_image(evaluation, index), cell(margin))
        for index, margin in zip(*(values.tolist() for values in evaluation.suspects))
    )
    return (*_IMAGE, "margin"), images


def _image(evaluation: Evaluation, index: int) -> tuple[object, ...]:
    """Return the row of an image: its file, its label, the class it is taken for, and the scores of both."""
    label, taken_for = evaluation.images.label(index), int(evaluation.predicted[index])
    row = evaluation.probabilities[index]
    pair = label, evaluation.names[label], taken_for, evaluation.names[taken_for]
    return evaluation.images.path(index), *pair, f"{row[taken_for]:.5f}", f"{row[label]:.5f}"
