"""Findings: what is wrong with single images, told from their facts by thresholds."""

from __future__ import annotations

import os
from typing import Iterator

import numpy as np

from ..data.formats import FORMATS
from .facts import DAMAGED, MISSING, READABLE
from .kinds import Finding, Limits, ordered
from .neighbours import Neighbours, alike, outliers, suspects
from .same import EQUAL, leaders_of, same_pictures
from .splits import Splits


def find(
    splits: Splits,
    facts: np.ndarray,
    reasons: dict[int, str],
    limits: Limits,
    near: Neighbours | None = None,
) -> list[Finding]:
    """Return the findings about images with these `facts`, in the order of `KINDS`, the most important first.

    `near` are neighbours by embeddings, where there are any, of images that are `comparable`.
    """
    found = [*_unread(facts, reasons), *_poor(facts, limits), *_odd(facts, splits, limits)]
    found += _same(splits, facts, limits, near)
    if near is not None:
        found += [*suspects(splits, near, limits), *outliers(near, limits)]
    return ordered(found)


def comparable(facts: np.ndarray, limits: Limits) -> np.ndarray:
    """Return the places of images whose content says which picture it is: readable, neither black nor of one colour."""
    seen = (facts["contrast"] >= limits.contrast) & (facts["bright"] >= limits.dark)
    return np.flatnonzero((facts["state"] == READABLE) & seen)


def _unread(facts: np.ndarray, reasons: dict[int, str]) -> Iterator[Finding]:
    for state, kind in ((MISSING, "missing"), (DAMAGED, "damaged")):
        for image in np.flatnonzero(facts["state"] == state).tolist():
            yield Finding(kind, image, reasons[image])


def _poor(facts: np.ndarray, limits: Limits) -> Iterator[Finding]:
    """Yield what is wrong with pixels; a black picture is not blank as well, and neither is blurred."""
    read = facts["state"] == READABLE
    dark = read & (facts["bright"] < limits.dark)
    blank = read & ~dark & (facts["contrast"] < limits.contrast)
    blurred = read & ~blank & ~dark & (facts["sharpness"] < limits.sharpness)
    for kind, which, fact, name in (
        ("blank", blank, "contrast", "contrast"),
        ("dark", dark, "bright", "luminance"),
        ("blurred", blurred, "sharpness", "sharpness"),
    ):
        for image in np.flatnonzero(which).tolist():
            value = float(facts[fact][image])
            yield Finding(kind, image, f"{name} {value:.1f}", weight=value)


def _odd(facts: np.ndarray, splits: Splits, limits: Limits) -> Iterator[Finding]:
    width, height = facts["width"], facts["height"]
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    read = facts["state"] == READABLE
    for kind, which, weight in (
        ("tiny", read & (shorter < limits.side), shorter),
        (
            "stretched",
            read & (longer > limits.aspect * np.maximum(shorter, 1)),
            -longer / np.maximum(shorter, 1),
        ),
    ):
        for image in np.flatnonzero(which).tolist():
            yield Finding(kind, image, f"{width[image]} x {height[image]}", weight=float(weight[image]))
    for mode in np.unique(facts["mode"][read]).tolist():
        of_mode = read & (facts["mode"] == mode)
        if mode in (b"", b"RGB") or (mode == b"L" and of_mode.sum() > read.sum() / 10):
            continue
        for image in np.flatnonzero(of_mode).tolist():
            yield Finding("odd_mode", image, mode.decode())
    yield from _misnamed(facts, splits, read)


def _misnamed(facts: np.ndarray, splits: Splits, read: np.ndarray) -> Iterator[Finding]:
    suffixes = {suffix: form.name for form in FORMATS for suffix in form.suffixes}
    for image in np.flatnonzero(read).tolist():
        name, form = splits.name(image), facts["format"][image].decode()
        said = suffixes.get(os.path.splitext(name)[1].lower())
        if said is not None and said != form and {said, form} != {"BMP", "DIB"}:
            yield Finding("odd_suffix", image, f"content of {form}")


def _same(splits: Splits, facts: np.ndarray, limits: Limits, near: Neighbours | None) -> Iterator[Finding]:
    """Yield those that show the picture of another image: of a later split, or else of the largest one."""
    size = facts["width"].astype(np.int64) * facts["height"]
    places = comparable(facts, limits)
    places = places[np.lexsort((-size[places], -splits.split[places]))]  # the one to keep comes first
    chosen, split, label = facts[places], splits.split[places], splits.labels[places]
    further = None if near is None else alike(near, places, limits.cosine)
    pairs = same_pictures(
        chosen["digest"], chosen["hash"], chosen["thumb"], limits.distance, limits.correlation, further
    )
    for pair in leaders_of(pairs):
        leader, image, distance = (int(column[pair]) for column in pairs[:3])
        kinds = []
        if label[image] != label[leader] and min(label[image], label[leader]) >= 0:
            kinds.append("conflict")
        if split[image] != split[leader]:
            kinds.append("leak")
        prefix = "" if distance == EQUAL else "near_"
        for kind in kinds or ["duplicate"]:
            yield Finding(
                f"{prefix}{kind}", int(places[image]), pairs.described(pair), int(places[leader]), distance
            )
