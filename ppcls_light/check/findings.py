"""Findings: what is wrong with single images, told from their facts by thresholds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterator, NamedTuple

import numpy as np

from ..data.formats import FORMATS
from .facts import DAMAGED, MISSING, READABLE
from .same import leaders_of, same_pictures
from .splits import Splits


class Kind(NamedTuple):
    """Kind of finding."""

    one: str  # what one image is
    several: str
    advice: str
    dropped: bool = False  # by default, from cleaned lists


KINDS = {
    "missing": Kind("file is not there", "files are not there", "correct the list or its image_root", True),
    "damaged": Kind("file cannot be read", "files cannot be read", "a training leaves such files out", True),
    "leak": Kind("image is in two splits", "images are in two splits", "the score will be too high", True),
    "conflict": Kind("image has two labels", "images have two labels", "one of the labels is wrong", True),
    "near_leak": Kind(
        "image looks like one of another split",
        "images look like ones of another split",
        "the score will be too high if they are the same",
        True,
    ),
    "near_conflict": Kind(
        "image looks like one of another class",
        "images look like ones of another class",
        "one of the labels is wrong if they are the same",
    ),
    "duplicate": Kind("image repeats another", "images repeat others", "repeated images weigh more", True),
    "near_duplicate": Kind(
        "image looks like another of its class",
        "images look like others of their class",
        "repeated images weigh more",
        True,
    ),
    "blank": Kind("image has one colour", "images have one colour", "there is nothing to learn", True),
    "dark": Kind("image is nearly black", "images are nearly black", "there is little to learn", True),
    "blurred": Kind("image is blurred", "images are blurred", "look if a person can tell the class"),
    "tiny": Kind("image is tiny", "images are tiny", "enlarged images hold no details"),
    "stretched": Kind("image is narrow", "images are narrow", "a square crop shows only a part"),
    "odd_mode": Kind("image has an odd mode", "images have odd modes", "see the table in data/decode.py"),
    "odd_suffix": Kind(
        "file has the suffix of another format",
        "files have the suffix of another format",
        "rename them for other programs; they are read here",
    ),
}
DROPPED = tuple(name for name, kind in KINDS.items() if kind.dropped)


@dataclass(frozen=True)
class Limits:
    """Thresholds of findings; the defaults are explained in docs/checking-data.md.

    dark: luminance, 0 to 255, that 95 % of the pixels of a nearly black picture do not exceed.
    contrast: standard deviation of the luminance of a picture of one colour, at most.
    sharpness: of a picture that is not blurred, at least; see `facts.FACTS`.
    distance: bits of 64 in which the hashes of the same picture differ, at most.
    correlation: of the colours of the same picture, at least.
    side: pixels of the shorter side, at least. aspect: longer side over shorter side, at most.
    """

    dark: float = 40
    contrast: float = 4
    sharpness: float = 8
    distance: int = 7
    correlation: float = 0.97
    side: int = 32
    aspect: float = 4


def sentence(kind: str, count: int) -> tuple[str, str]:
    """Return what `count` images of a kind are, and the advice."""
    about = KINDS[kind]
    return about.one if count == 1 else about.several, about.advice


class Finding(NamedTuple):
    """Image with something wrong."""

    kind: str
    image: int  # its place in the `Splits`
    detail: str = ""
    other: int | None = None  # the image that it is the same as
    weight: float = 0  # of a kind, the lowest comes first


def find(splits: Splits, facts: np.ndarray, reasons: dict[int, str], limits: Limits) -> list[Finding]:
    """Return the findings about images with these `facts`, in the order of `KINDS`, the most important first."""
    found = [*_unread(facts, reasons), *_poor(facts, limits), *_odd(facts, splits, limits)]
    unfit = {finding.image for finding in found if finding.kind == "blank"}
    found += _same(splits, facts, unfit, limits)
    return ordered(found)


def ordered(found: list[Finding]) -> list[Finding]:
    """Return findings by kind, weight and image."""
    rank = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(found, key=lambda finding: (rank[finding.kind], finding.weight, finding.image))


def by_kind(found: list[Finding]) -> dict[str, list[Finding]]:
    """Return the findings of each kind that there are, in the order of `KINDS`."""
    groups: dict[str, list[Finding]] = {}
    for finding in ordered(found):
        groups.setdefault(finding.kind, []).append(finding)
    return groups


def _unread(facts: np.ndarray, reasons: dict[int, str]) -> Iterator[Finding]:
    for state, kind in ((MISSING, "missing"), (DAMAGED, "damaged")):
        for image in np.flatnonzero(facts["state"] == state).tolist():
            yield Finding(kind, image, reasons[image])


def _poor(facts: np.ndarray, limits: Limits) -> Iterator[Finding]:
    """Yield what is wrong with pixels; a picture of one colour is neither dark nor blurred as well."""
    read = facts["state"] == READABLE
    blank = read & (facts["contrast"] < limits.contrast)
    dark = read & ~blank & (facts["bright"] < limits.dark)
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


def _same(splits: Splits, facts: np.ndarray, unfit: set[int], limits: Limits) -> Iterator[Finding]:
    """Yield those that show the picture of another image: of a later split, or else of the largest one."""
    fit = facts["state"] == READABLE
    fit[list(unfit)] = False
    size = facts["width"].astype(np.int64) * facts["height"]
    places = np.flatnonzero(fit)
    places = places[np.lexsort((-size[places], -splits.split[places]))]  # the one to keep comes first
    chosen, split, label = facts[places], splits.split[places], splits.labels[places]
    pairs = same_pictures(
        chosen["digest"], chosen["hash"], chosen["thumb"], limits.distance, limits.correlation
    )
    for image, leader, distance, mirrored in leaders_of(pairs):
        kinds = []
        if label[image] != label[leader] and min(label[image], label[leader]) >= 0:
            kinds.append("conflict")
        if split[image] != split[leader]:
            kinds.append("leak")
        near = "" if distance < 0 else "near_"
        detail = "same content" if distance < 0 else f"{distance} of 64 bits differ{', mirrored' * mirrored}"
        for kind in kinds or ["duplicate"]:
            yield Finding(f"{near}{kind}", int(places[image]), detail, int(places[leader]), distance)
