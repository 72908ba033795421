"""report.html of tags: an evaluation in which an image has any number of tags."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..base.files import StrPath
from ..base.html import Markup, details, gallery, paragraph, picture, table
from .charts import draw_precision_recall
from .page_parts import LEARNED, caption, card_tables, chart, percent, training, whole_percent, write_parts
from .pictures import Pictures
from .tag_charts import draw_cooccurrence
from .tag_evaluation import Mistakes, TagEvaluation

_FEW = 10  # tags up to which their picture fits into a narrow window
_OF_A_TAG, _OF_TAGS, _SUSPECTS = 8, 240, 24  # pictures


def write_tag_page(
    path: StrPath,
    evaluation: TagEvaluation,
    card: Mapping[str, Mapping[str, Any]],
    pictures: Pictures | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page of `evaluation` to `path`; see `tag_folder.write_tag_report`. Raises UserError."""
    parts = {
        "Tags": _tags(evaluation),
        "Precision and recall": _curves(evaluation),
        "Tags together": _together(evaluation),
        "Surest mistakes": _mistakes(evaluation, pictures),
        "Suspected label errors": _suspects(evaluation, pictures),
    }
    if history:
        parts["Training"] = training(history)
    if card:
        parts["Data and model"] = card_tables(card)
    write_parts(path, card, _summary(evaluation), parts)


def _summary(evaluation: TagEvaluation) -> Markup:
    summary = evaluation.summary
    rows = [
        ("images, tags", f"{summary['images']:,}, {summary['tags']:,}"),
        ("mean average precision of the tags (mAP)", percent(summary["mAP"])),
        *(
            (f"{name} of all answers (micro)", percent(summary[f"micro_{name.lower()}"]))
            for name in ("precision", "recall", "F1")
        ),
        ("mean F1 of the tags (macro)", percent(summary["macro_f1"])),
        ("mean of both recalls of a tag at 0.5 (ma of ATTRMetric)", percent(summary["ma"])),
        ("F1 of an image's tags at 0.5 (instance_f1 of ATTRMetric)", percent(summary["instance_f1"])),
        ("suspected labels", f"{summary['suspected_label_errors']:,}"),
    ]
    return Markup((LEARNED if evaluation.learned else "") + table(("", ""), rows))


def _tags(evaluation: TagEvaluation) -> Iterator[Markup]:
    yield paragraph(
        "An image is said to have a tag where its probability is the threshold or more. Images of which a tag is not "
        "known do not count for it. A tag that no image has, or that is said of none, lacks the number that would be "
        "divided by nothing, and means leave it out."
    )
    outcomes, average, auc = evaluation.outcomes, evaluation.average_precision, evaluation.auc
    rows = [
        (
            *(name, f"{evaluation.thresholds[tag]:.4g}"),
            *map(percent, (outcome.precision, outcome.tpr, outcome.f1, average[tag], auc[tag])),
            *(outcome.positives, outcome.negatives, int(evaluation.unknown[tag])),
        )
        for tag, (name, outcome) in enumerate(zip(evaluation.names, outcomes))
    ]
    shares = "precision", "recall", "F1", "average precision", "area under ROC"
    yield table(("tag", "threshold", *shares, "images with it", "without", "not known"), rows)


def _curves(evaluation: TagEvaluation) -> Iterator[Markup]:
    yield chart(
        draw_precision_recall(evaluation.names, evaluation.curves, evaluation.average_precision, "tags"),
        "precision and recall by tag",
    )
    yield paragraph("precision_recall.csv has up to 100 points of each tag.")


def _together(evaluation: TagEvaluation) -> Iterator[Markup]:
    yield paragraph(
        "Of the images with the row's tag, so many have the column's, too. Tags that always come together cannot be "
        "told apart by these images; cooccurrence.csv has the numbers."
    )
    figure = draw_cooccurrence(evaluation.cooccurrence, evaluation.names)
    yield chart(figure, "co-occurrence of tags", wide=len(evaluation.names) > _FEW)


def _mistakes(evaluation: TagEvaluation, pictures: Pictures | None) -> Iterator[Markup]:
    mistakes = evaluation.mistakes
    yield paragraph(
        f"{len(mistakes.images):,} answers about a tag are not its label, the surest first. mistakes.csv has them all."
    )
    if pictures is None:
        return
    left = _OF_TAGS
    for tag in np.unique(mistakes.tags).tolist():
        found = mistakes.of(tag)
        shown = found[: min(left, _OF_A_TAG)].tolist()
        left -= len(shown)
        missed = int((evaluation.labels[found, tag] == 1).sum())
        figures = (_figure(evaluation, pictures, index, tag) for index in shown)
        yield details(
            f"{evaluation.names[tag]}: {missed:,} missed, {len(found) - missed:,} without it said to have it",
            gallery(figures, len(found) - len(shown)),
            unfolded=True,
        )


def _suspects(evaluation: TagEvaluation, pictures: Pictures | None) -> Iterator[Markup]:
    suspects: Mistakes = evaluation.suspects
    yield paragraph(
        f"{len(suspects.images):,} labels of a tag are suspected by confident learning of each tag alone (arXiv "
        "1911.00068, 2211.13895), the most suspicious first. A person decides: a weak network also suspects what it "
        "merely gets wrong. label_errors.csv has them all."
    )
    if pictures is not None:
        shown = list(zip(suspects.images.tolist(), suspects.tags.tolist()))[:_SUSPECTS]
        yield gallery(
            (_figure(evaluation, pictures, *one) for one in shown), len(suspects.images) - len(shown)
        )


def _figure(evaluation: TagEvaluation, pictures: Pictures, index: int, tag: int) -> Markup:
    name, score = evaluation.names[tag], whole_percent(evaluation.probabilities[index, tag])
    label = name if evaluation.labels[index, tag] == 1 else f"no {name}"
    said = f"label: {label}; probability {score}"
    return picture(pictures.thumbnail(index), caption(said, evaluation.images.name(index)), name)
