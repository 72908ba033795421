"""report.html: an evaluation as one page, for a browser without network or script, on a desktop and on a phone.

A click on a cell of the confusion matrix leads to its pictures, which CSS (`:target`) shows. Pictures are bounded in
number, whatever the evaluation; the tables beside the page have every image.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..base.files import StrPath
from ..base.html import Markup, gallery, link, paragraph, picture, table, text
from .charts import draw_precision_recall, draw_reliability, draw_thresholds
from .classes import draw_confusion, most_confused
from .evaluation import Evaluation
from .label_next import NextToLabel
from .page_parts import LEARNED, caption, card_tables, chart, percent, training, whole_percent, write_parts
from .pictures import Pictures, file_thumbnail
from .two_classes import two_class_part

_CLASSES = 30  # up to which the matrix is a table; of more, a picture and the pairs most often confused
_OF_A_CELL, _OF_THE_DIAGONAL, _OF_CELLS = 12, 4, 400  # pictures
_MISTAKES, _SUSPECTS, _NEXT = 24, 24, 48  # pictures


def write_page(
    path: StrPath,
    evaluation: Evaluation,
    card: Mapping[str, Mapping[str, Any]],
    pictures: Pictures | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    to_label: NextToLabel | None = None,
) -> None:
    """Write the page of `evaluation` to `path`; see `folder.write_report`. Raises UserError: it cannot be written."""
    parts = {
        "Confusion": _confusion(evaluation, pictures),
        "Classes": _classes(evaluation),
        "Surest mistakes": _mistakes(evaluation, pictures),
        "Suspected label errors": _suspects(evaluation, pictures),
        "Scores": _scores(evaluation),
    }
    if evaluation.two_classes is not None:
        parts["Threshold"] = two_class_part(evaluation.two_classes)
    if history:
        parts["Training"] = training(history)
    if to_label is not None:
        parts["To label next"] = _to_label(evaluation, to_label)
    if card:
        parts["Data and model"] = card_tables(card)
    write_parts(path, card, _summary(evaluation), parts)


def _summary(evaluation: Evaluation) -> Markup:
    summary = evaluation.summary
    rows = [
        (f"accuracy of {summary['images']:,} images", percent(summary["accuracy"])),
        *(
            (f"mean {name} of the classes", percent(summary[f"macro_{name.lower().replace(' ', '_')}"]))
            for name in ("precision", "recall", "F1", "average precision")
        ),
        ("expected calibration error", percent(summary["expected_calibration_error"])),
        ("suspected label errors", f"{summary['suspected_label_errors']:,}"),
    ]
    return Markup((LEARNED if evaluation.learned else "") + table(("", ""), rows))


def _confusion(evaluation: Evaluation, pictures: Pictures | None) -> Iterator[Markup]:
    confusion = evaluation.confusion
    if evaluation.class_num <= _CLASSES:
        shown = list(zip(*(places.tolist() for places in np.nonzero(confusion))))
        yield paragraph("Rows are labels, columns predictions. A click on a number shows its pictures below.")
        yield _matrix(evaluation)
    else:
        shown = most_confused(confusion)
        yield chart(draw_confusion(confusion, evaluation.names), "confusion matrix", wide=True)
        yield paragraph("The pairs most often confused; a click on a number shows its pictures below.")
        names = evaluation.names
        yield table(
            ("images", "label", "taken for"),
            [
                (link(_anchor(row, column), int(confusion[row, column])), names[row], names[column])
                for row, column in shown
            ],
        )
    if pictures is not None:
        yield from _cells(evaluation, pictures, shown)


def _anchor(label: int, predicted: int) -> str:
    return f"cell-{label}-{predicted}"


def _matrix(evaluation: Evaluation) -> Markup:
    names, confusion = evaluation.names, evaluation.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    rows = []
    for label, name in enumerate(names):
        cells = "".join(
            _matrix_cell(label, column, int(confusion[label, column]), float(shares[label, column]))
            for column in range(len(names))
        )
        rows.append(f"<tr><th>{text(name)}</th>{cells}</tr>")
    return Markup(
        f'<div class="wide"><table class="matrix"><thead><tr><th>label \\ prediction</th>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _matrix_cell(label: int, column: int, count: int, share: float) -> str:
    if not count:
        return "<td></td>"
    colour = "37,99,235" if label == column else "217,119,6"
    # The root keeps the few images of a rare mistake visible beside a full diagonal.
    shade = f' style="background: rgba({colour},{0.7 * share**0.5:.2f})"'
    return f"<td{shade}>{link(_anchor(label, column), f'{count:,}')}</td>"


def _cells(evaluation: Evaluation, pictures: Pictures, shown: Sequence[tuple[int, int]]) -> Iterator[Markup]:
    """Yield the pictures of the cells `shown`, (label, prediction), of mistakes before those that are right."""
    names, left = evaluation.names, _OF_CELLS
    for label, column in sorted(shown, key=lambda cell: cell[0] == cell[1]):
        found = np.flatnonzero((evaluation.labels == label) & (evaluation.predicted == column))
        right = label == column
        # Of the right ones the least sure are worth a look, of the wrong ones the surest.
        order = found[np.argsort(evaluation.confidence[found] * (1 if right else -1), kind="stable")]
        most = min(left, _OF_THE_DIAGONAL if right else _OF_A_CELL)
        images = [_image(evaluation, pictures, index, pair=False) for index in order[:most].tolist()]
        left -= len(images)
        title = f"{names[label]}, right" if right else f"{names[label]} taken for {names[column]}"
        title += f": {len(found):,}" + (", the least sure first" if right else ", the surest first")
        yield Markup(
            f'<div class="cell" id="{_anchor(label, column)}"><h3>{text(title)}</h3>\n'
            f"{gallery(images, len(found) - len(images))}\n{paragraph(link('confusion', 'back to the matrix'))}</div>"
        )


def _image(evaluation: Evaluation, pictures: Pictures, index: int, pair: bool = True) -> Markup:
    """Return the figure of an image; `pair`: the caption has its label and the class it is taken for."""
    said = whole_percent(evaluation.confidence[index])
    if pair:
        said = f"{_pair(evaluation, index)} {said}"
    label = evaluation.names[evaluation.images.label(index)]
    return picture(pictures.thumbnail(index), caption(said, evaluation.images.name(index)), label)


def _pair(evaluation: Evaluation, index: int) -> str:
    names = evaluation.names
    return f"{names[evaluation.images.label(index)]} → {names[int(evaluation.predicted[index])]}"


def _classes(evaluation: Evaluation) -> Iterator[Markup]:
    yield paragraph(
        "The means above are over the classes that have the number: a class without images has no recall, one that "
        "nothing was taken for no precision, one that is neither no F1. They are scikit-learn's with "
        'average="macro", zero_division=numpy.nan and all classes as labels.'
    )
    wrong = evaluation.confusion.copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for label, (name, *scores, support) in enumerate(zip(evaluation.names, *evaluation.scores)):
        taken_for = int(wrong[label].argmax())
        mostly = f"{evaluation.names[taken_for]} ({wrong[label, taken_for]})" if wrong[label].any() else ""
        average = evaluation.average_precision[label]
        rows.append((name, *map(percent, (*scores, average)), int(support), mostly))
    yield table(
        ("class", "precision", "recall", "F1", "average precision", "images", "mostly taken for"), rows
    )


def _mistakes(evaluation: Evaluation, pictures: Pictures | None) -> Iterator[Markup]:
    count = len(evaluation.mistakes)
    yield paragraph(
        f"{count:,} images are taken for another class than their label's: label → prediction and its score. Beside "
        "an image: what the network saw of it, and in yellow what spoke for the prediction. mistakes.csv has them all."
    )
    if pictures is None:
        return
    shown = evaluation.mistakes[:_MISTAKES].tolist()
    maps = pictures.explained(shown, evaluation.predicted[shown].tolist())
    yield gallery(
        (_explained(evaluation, pictures, index, heat) for index, heat in zip(shown, maps)),
        count - len(shown),
    )


def _explained(evaluation: Evaluation, pictures: Pictures, index: int, heat: bytes | None) -> Markup:
    figure = _image(evaluation, pictures, index)
    if heat is None:
        return figure
    return Markup(f'<div class="explained">{figure}{picture(heat, "", "heat map")}</div>')


def _suspects(evaluation: Evaluation, pictures: Pictures | None) -> Iterator[Markup]:
    indices = evaluation.suspects.indices
    yield paragraph(
        f"{len(indices):,} labels are suspected by confident learning (arXiv 1911.00068), the most suspicious first: "
        "label → what the image looks like instead. A person decides: a weak network also suspects what it merely gets "
        "wrong. label_errors.csv has them all."
    )
    if evaluation.learned:
        yield paragraph("The network has learned these labels: a wrong one that it repeats is not found.")
    if pictures is not None:
        shown = indices[:_SUSPECTS].tolist()
        yield gallery((_image(evaluation, pictures, index) for index in shown), len(indices) - len(shown))


def _scores(evaluation: Evaluation) -> Iterator[Markup]:
    curves = evaluation.names, evaluation.curves, evaluation.average_precision
    yield Markup(
        '<div class="charts">'
        + chart(draw_reliability(evaluation), "reliability diagram")
        + chart(draw_thresholds(evaluation), "coverage and accuracy by threshold")
        + chart(draw_precision_recall(*curves), "precision and recall by class")
        + "</div>"
    )
    yield paragraph(
        "A bar above the diagonal: the network is right more often than its scores say. Answers with a lower score "
        "than a threshold can be left to a person:"
    )
    rows = [
        (
            percent(accuracy),
            "none reaches it" if np.isnan(threshold) else f"{threshold:.3f}",
            percent(coverage),
        )
        for accuracy, threshold, coverage in evaluation.thresholds
    ]
    yield table(("accuracy of the answers at least", "least score", "share of the images answered"), rows)


def _to_label(evaluation: Evaluation, to_label: NextToLabel) -> Iterator[Markup]:
    yield paragraph(
        f"{len(to_label.paths):,} of {to_label.looked_at:,} images without labels, which are likely to teach most: the "
        "network doubts between two classes, and they differ from each other. label_next.csv has them all."
    )
    rows = list(to_label.rows(evaluation.names))
    figures = (
        picture(
            file_thumbnail(path),
            caption(f"{first} {whole_percent(float(score))} or {second} {whole_percent(float(other))}", path),
            first,
        )
        for path, _, first, score, _, second, other, _ in (map(str, row) for row in rows[:_NEXT])
    )
    yield gallery(figures, max(0, len(rows) - _NEXT))
