"""Report of a check: the page, and the same as CSV and JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageOps

from ..base import html
from ..base.files import results, write_text
from ..base.tables import write_csv
from ..data.decode import read_bytes
from ..errors import DataError
from .facts import FACTS, READABLE, decode_small
from .kinds import Finding, Limits, by_kind, sentence
from .splits import Splits

PAGE = "index.html"
_SHOWN = 48  # findings of a kind that have pictures
_SHEET, _SHEETS = 24, 2400  # pictures of a contact sheet, and of all of them
_COLUMNS, _CELL = 8, 72  # of a contact sheet; pixels
_UNFOLDED = 30  # classes up to which their sheets are unfolded
_CLASSES = 1000  # rows of the table of classes
_QUANTILES = ("least", "5 %", "half", "95 %", "most")
_STYLE = """
.gallery figure { min-width: 136px; }
.pair { display: flex; max-width: 100%; }
.pair figure:first-child { border-radius: 8px 0 0 8px; border-right: 0; }
.pair figure:last-child { border-radius: 0 8px 8px 0; }
"""
_NUMBERS = ("bytes", "width", "height", "bright", "contrast", "sharpness")


def write_report(
    folder: str,
    title: str,
    splits: Splits,
    facts: np.ndarray,
    found: list[Finding],
    notes: Sequence[str],
    limits: Limits,
) -> None:
    """Write index.html, findings.csv, images.csv and summary.json into `folder`.

    They appear together; those of another check that are there are set aside, see `files.results`.
    Raises UserError: a file cannot be written.
    """
    summary = summarised(splits, facts, found, notes, limits)
    with results(folder) as scratch:
        write_text(os.path.join(scratch, PAGE), _page(title, splits, facts, found, notes))
        write_text(
            os.path.join(scratch, "summary.json"), json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        )
        write_csv(
            os.path.join(scratch, "findings.csv"),
            ("kind", "split", "file", "label", "class", "detail", "other_split", "other_file", "other_label"),
            (_row(splits, finding) for finding in found),
        )
        write_csv(
            os.path.join(scratch, "images.csv"),
            ("split", "file", "label", "format", "mode", *_NUMBERS, "hash"),
            _image_rows(splits, facts),
        )


def summarised(
    splits: Splits, facts: np.ndarray, found: list[Finding], notes: Sequence[str], limits: Limits
) -> dict[str, object]:
    """Return the content of summary.json."""
    names = [part.name for part in splits.parts]
    return {
        "images": len(splits),
        "splits": {part.name: len(part.images) for part in splits.parts},
        "classes": [
            {"name": name, "images": dict(zip(names, row))}
            for name, row in zip(splits.class_names, splits.counts().tolist())
        ],
        "findings": {kind: len(items) for kind, items in by_kind(found).items()},
        "notes": list(notes),
        "sizes": {str(name): dict(zip(_QUANTILES, row)) for name, *row in _sizes(facts)},
        "limits": asdict(limits),
    }


def _row(splits: Splits, finding: Finding) -> tuple[object, ...]:
    image, other = finding.image, finding.other
    return (
        *(finding.kind, splits.split_name(image), splits.name(image), int(splits.labels[image])),
        *(splits.class_name(image), finding.detail),
        *(
            ("", "", "")
            if other is None
            else (splits.split_name(other), splits.name(other), int(splits.labels[other]))
        ),
    )


def _image_rows(splits: Splits, facts: np.ndarray) -> Iterator[tuple[object, ...]]:
    for index, fact in enumerate(facts):
        known = fact["state"] == READABLE
        yield (
            *(splits.split_name(index), splits.name(index), int(splits.labels[index])),
            *(fact["format"].decode(), fact["mode"].decode()),
            *(
                f"{fact[name]:.4g}" if FACTS[name].kind == "f" else int(fact[name])
                for name in _NUMBERS
                if known
            ),
            *([f"{fact['hash']:016x}"] if known else [""] * (len(_NUMBERS) + 1)),
        )


def _sizes(facts: np.ndarray) -> list[tuple[object, ...]]:
    """Return (name, least, 5 %, half, 95 %, most) of what can be measured; no rows without a readable image."""
    read = facts[facts["state"] == READABLE]
    if not len(read):
        return []
    width, height = read["width"].astype(float), read["height"].astype(float)
    measured = {
        "width": width,
        "height": height,
        "width / height": width / height,
        "kB": read["bytes"] / 1000,
        "luminance (95 %)": read["bright"],
        "contrast": read["contrast"],
        "sharpness": read["sharpness"],
    }
    return [
        (name, *map(_rounded, np.percentile(values, [0, 5, 50, 95, 100]).tolist()))
        for name, values in measured.items()
    ]


def _rounded(value: float) -> float | int:
    """Return `value` with three digits or more."""
    return round(value) if value >= 100 else float(f"{value:.3g}")


def _page(title: str, splits: Splits, facts: np.ndarray, found: list[Finding], notes: Sequence[str]) -> str:
    groups = by_kind(found)
    sections = (
        _counts(splits, notes),
        html.section("Sizes", html.table(("", *_QUANTILES), _sizes(facts)), _kinds_of_files(facts)),
        *(_finding_section(splits, kind, items) for kind, items in groups.items()),
        _contact_sheets(splits, facts),
    )
    return html.page(title, _overview(splits, groups), *sections, style=_STYLE)


def _overview(splits: Splits, groups: dict[str, list[Finding]]) -> html.Markup:
    parts = ", ".join(f"{part.name} {len(part.images):,}" for part in splits.parts)
    rows = [
        (html.link(kind, kind), len(items), "; ".join(sentence(kind, len(items))))
        for kind, items in groups.items()
    ]
    found = html.table(("kind", "images", ""), rows) if rows else html.paragraph("No findings.")
    return html.Markup(f"{html.paragraph(f'{len(splits):,} images: {parts}.')}\n{found}")


def _counts(splits: Splits, notes: Sequence[str]) -> html.Markup:
    counts = splits.counts()
    rows = [
        (label, name, *row)
        for label, (name, row) in enumerate(zip(splits.class_names[:_CLASSES], counts.tolist()))
    ]
    more = [f"and {len(counts) - _CLASSES:,} further classes"] if len(counts) > _CLASSES else []
    unlabelled = int((splits.labels < 0).sum())
    more += [f"{unlabelled:,} images have no label"] if unlabelled else []
    columns = ("label", "class", *(part.name for part in splits.parts))
    return html.section("Classes", *map(html.paragraph, [*notes, *more]), html.table(columns, rows))


def _kinds_of_files(facts: np.ndarray) -> html.Markup:
    read = facts[facts["state"] == READABLE]
    kinds, counts = np.unique(read[["format", "mode"]], return_counts=True)
    rows = [
        (kind["format"].decode(), kind["mode"].decode(), count) for kind, count in zip(kinds, counts.tolist())
    ]
    return html.table(("format", "mode", "images"), rows)


def _finding_section(splits: Splits, kind: str, items: list[Finding]) -> html.Markup:
    shown = items[:_SHOWN]
    pictures = html.gallery((_figure(splits, finding) for finding in shown), len(items) - len(shown))
    return html.section(
        kind,
        html.paragraph(f"{len(items):,} {'; '.join(sentence(kind, len(items)))}."),
        pictures,
        anchor=kind,
    )


def _figure(splits: Splits, finding: Finding) -> html.Markup:
    """Return the picture of a finding with its place, beside the one that it is the same as."""
    figure = html.picture(
        thumbnail_of(splits, finding.image),
        _caption(splits, finding.image, finding.detail),
        splits.name(finding.image),
    )
    if finding.other is None:
        return figure
    other = html.picture(
        thumbnail_of(splits, finding.other), _caption(splits, finding.other, ""), splits.name(finding.other)
    )
    return html.Markup(f'<div class="pair">{figure}{other}</div>')


def _caption(splits: Splits, index: int, detail: str) -> html.Markup:
    place = " · ".join(filter(None, (splits.split_name(index), splits.class_name(index))))
    return html.Markup("<br>".join(html.text(line) for line in (place, splits.name(index), detail) if line))


def thumbnail_of(splits: Splits, index: int, side: int = 112) -> bytes | None:
    """Return a JPEG file of an image, None for one that cannot be read."""
    pixels = _pixels(splits, index, side)
    return None if pixels is None else html.thumbnail(pixels, side)


def _pixels(splits: Splits, index: int, side: int) -> np.ndarray | None:
    source = splits.source(index)
    try:
        return decode_small(read_bytes(source) if isinstance(source, str) else source, side)
    except DataError:
        return None


def _contact_sheets(splits: Splits, facts: np.ndarray) -> html.Markup:
    """Return a picture of some images of each class; of the first classes where there are many."""
    places = np.flatnonzero(facts["state"] == READABLE)
    if not len(places):
        return html.paragraph("No image can be read.")
    order = places[np.argsort(splits.labels[places], kind="stable")]
    classes, starts = np.unique(splits.labels[order], return_index=True)
    most = max(_COLUMNS, min(_SHEET, _SHEETS // len(classes)))
    sheets = []
    for members in np.split(order, starts[1:])[: _SHEETS // most]:
        name = splits.class_name(int(members[0])) or "without a label"
        chosen = members[np.unique(np.linspace(0, len(members) - 1, min(most, len(members))).astype(int))]
        sheet = html.thumbnail(_sheet(splits, chosen.tolist()), _COLUMNS * _CELL)
        caption = f"{len(chosen)} of {len(members):,} images" if len(members) > len(chosen) else ""
        shown = html.gallery([html.picture(sheet, caption, name)])
        sheets.append(html.details(name, shown, unfolded=len(classes) <= _UNFOLDED))
    hidden = len(classes) - len(sheets)
    more = [html.paragraph(f"and {hidden:,} further classes")] if hidden > 0 else []
    return html.section("Contact sheets", *sheets, *more)


def _sheet(splits: Splits, images: Iterable[int]) -> np.ndarray:
    """Return uint8 (H, W, 3): the middle squares of images, side by side on grey."""
    images = list(images)
    columns = min(_COLUMNS, len(images))
    sheet = np.full((-(-len(images) // columns) * _CELL, columns * _CELL, 3), 128, np.uint8)
    for place, index in enumerate(images):
        pixels = _pixels(splits, index, 2 * _CELL)
        if pixels is not None:
            row, column = divmod(place, columns)
            sheet[row * _CELL : (row + 1) * _CELL, column * _CELL : (column + 1) * _CELL] = _square(pixels)
    return sheet


def _square(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (_CELL, _CELL)))
