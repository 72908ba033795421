"""Kinds of findings, the thresholds that tell them, and a finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

from ..errors import ConfigError


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
    "suspect_label": Kind(
        "label is that of no similar image", "labels are those of no similar image", "look at the labels"
    ),
    "outlier": Kind("image is like no other", "images are like no others", "look if they belong here"),
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
    cosine: of the embeddings of the same picture, at least.
    label_share: of the nearest images with a label that is suspected, at most.
    outlier: distance to the nearest images, in interquartile ranges above the third quartile, at most.
    """

    dark: float = 40.0
    contrast: float = 4.0
    sharpness: float = 8.0
    distance: int = 7
    correlation: float = 0.97
    side: int = 32
    aspect: float = 4.0
    cosine: float = 0.94
    label_share: float = 0.0
    outlier: float = 2.0


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


def check_kinds(option: str, kinds: Sequence[str]) -> None:
    """Raise ConfigError for one of `kinds`, of the command's `option`, that does not exist."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"{option} {unknown[0]}: there is no such kind of finding; use {', '.join(KINDS)}")
