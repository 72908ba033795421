"""Folder of the report of an evaluation with tags: tables, the picture of tags that come together, and the page."""

from __future__ import annotations

import os
from typing import Any, Iterator, Mapping, Sequence

from ..base.figures import save_figure
from .files import PAGE, Table, cell, report_folder
from .pictures import Pictures
from .tag_charts import draw_cooccurrence
from .tag_evaluation import Mistakes, TagEvaluation
from .tag_page import write_tag_page

_TAG = ("tag_id", "tag_name")


def write_tag_report(
    folder: str,
    evaluation: TagEvaluation,
    card: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Pictures | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> dict[str, float]:
    """Write the tables of an evaluation and report.html, which shows them, into `folder`; return the summary.

    As of `folder.write_report` the files appear together.

    | file | content |
    |---|---|
    | summary.json | `TagEvaluation.summary` |
    | per_tag.csv | by tag: threshold, shares, and numbers of images with it, without it, and not known |
    | precision_recall.csv | by tag, up to 100 points of each |
    | cooccurrence.csv, .png, .svg | numbers of images that have the row's tag and the column's |
    | mistakes.csv | answers about a tag that are not its label, the surest first |
    | label_errors.csv | labels of a tag that are suspected, the most suspicious first |
    | card.json, report.html | as of `folder.write_report` |

    Raises UserError: a file cannot be written.
    """
    with report_folder(folder, evaluation.summary, _tables(evaluation), card) as scratch:
        save_figure(
            draw_cooccurrence(evaluation.cooccurrence, evaluation.names),
            os.path.join(scratch, "cooccurrence"),
        )
        write_tag_page(os.path.join(scratch, PAGE), evaluation, card or {}, pictures, history)
    return evaluation.summary


def _tables(evaluation: TagEvaluation) -> dict[str, Table]:
    """Return {file name: (columns, rows)}."""
    names = evaluation.names
    shares = "precision", "recall", "f1", "average_precision", "auc"
    return {
        "per_tag.csv": ((*_TAG, "threshold", *shares, "with", "without", "unknown"), _by_tag(evaluation)),
        "precision_recall.csv": (
            (*_TAG, "threshold", "precision", "recall"),
            (
                (tag, name, *map(cell, point))
                for tag, (name, curve) in enumerate(zip(names, evaluation.curves))
                if curve is not None
                for point in curve.rows()
            ),
        ),
        "cooccurrence.csv": (
            ("tag", *names),
            ((name, *row) for name, row in zip(names, evaluation.cooccurrence.tolist())),
        ),
        "mistakes.csv": _answers(evaluation, evaluation.mistakes),
        "label_errors.csv": _answers(evaluation, evaluation.suspects),
    }


def _by_tag(evaluation: TagEvaluation) -> Iterator[Sequence[object]]:
    columns = (evaluation.average_precision, evaluation.auc, evaluation.thresholds, evaluation.unknown)
    rows = zip(evaluation.names, evaluation.outcomes, *(values.tolist() for values in columns))
    for tag, (name, found, average, auc, threshold, unknown) in enumerate(rows):
        shares = found.precision, found.tpr, found.f1, average, auc
        yield tag, name, f"{threshold:.7g}", *map(cell, shares), found.positives, found.negatives, unknown


def _answers(evaluation: TagEvaluation, found: Mistakes) -> Table:
    rows = (
        (
            *(evaluation.images.path(index), tag, evaluation.names[tag], int(evaluation.labels[index, tag])),
            f"{evaluation.probabilities[index, tag]:.5f}",
        )
        for index, tag in zip(found.images.tolist(), found.tags.tolist())
    )
    return ("file", *_TAG, "label", "score"), rows
