"""`check_data`: facts, findings, report and cleaned lists of a data set, with a few lines for the terminal."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import astuple
from typing import Sequence, TextIO

import numpy as np

from ..base.files import require_writable
from ..base.machine import physical_cores
from ..base.terminal import progress_bar
from ..data.folder_names import printable
from ..errors import ConfigError, listed
from .embeddings import Embed, embedded
from .facts import gather
from .findings import comparable, find
from .kinds import Finding, Limits, by_kind, check_kinds, sentence
from .lists import DROPPED_FILE, dropped_images, require_files, write_cleaned
from .neighbours import Neighbours, neighbours_of
from .page import PAGE, write_report
from .same import FURTHEST
from .splits import Splits

FEW = 10  # images of a class, below which there is a note
_UNEVEN = 20  # times as many images as the smallest class has
_MANY = 0.1  # of all images: findings by a threshold that does not suit them
_SMALL = 500  # images for which no processes are started
_MOST_WORKERS = 8
_SECONDS = 30  # between two lines of progress where there is no terminal
_OPTIONS = {
    "dark": "--dark",
    "blank": "--contrast",
    "blurred": "--sharpness",
    "tiny": "--side",
    "stretched": "--aspect",
}


def check_data(
    splits: Splits,
    folder: str,
    limits: Limits,
    title: str,
    workers: int | None = None,
    fix: Sequence[str] = (),
    embed: Embed | None = None,
    progress: TextIO | None = None,
) -> tuple[list[Finding], list[str]]:
    """Check the images of `splits`, and write the report into `folder`; return the findings, and lines to print.

    `workers` processes read (None: by the machine and the number of images; 0: this one). Images with findings of the
    kinds `fix` are left out of lists that are written to `folder`/lists. With `embed` images are compared by
    embeddings, too.

    Raises ConfigError: a threshold or a kind does not exist. UserError: see `write_report` and `write_cleaned`.
    """
    _check_limits(limits, embed is not None)
    check_kinds("--fix", fix)
    if fix:
        require_files(splits)
    count, processes = len(splits), _workers(workers, len(splits))
    require_writable(os.path.join(folder, PAGE))
    stream = progress or sys.stderr
    with Progress("read", count, stream) as shown:
        facts, reasons = gather(map(splits.source, range(count)), count, processes, shown.show)
    near = None if embed is None else _neighbours(splits, comparable(facts, limits), embed, stream)
    found = find(splits, facts, reasons, limits, near)
    notes = noted(splits, found)
    lines = [f"{count:,} images in {len(splits.class_names):,} classes, {shown.speed}", *notes]
    lines += [line_of(splits, items) for items in by_kind(found).values()] or ["no findings"]
    write_report(folder, title, splits, facts, found, notes, limits)
    lines.append(f"report: {os.path.join(folder, PAGE)}, with findings.csv, images.csv and summary.json")
    if fix:
        lines += _fixed(splits, found, fix, os.path.join(folder, "lists"))
    return found, lines


def _neighbours(splits: Splits, images: np.ndarray, embed: Embed, stream: TextIO) -> Neighbours:
    with Progress("embedded", len(images), stream) as shown:
        embeddings, known = embedded(embed, [splits.source(index) for index in images.tolist()], shown.show)
    with Progress("compared", len(known), stream) as shown:
        return neighbours_of(images[known], embeddings, shown.show)


def _check_limits(limits: Limits, has_embeddings: bool) -> None:
    if not all(map(math.isfinite, astuple(limits))):
        raise ConfigError("a threshold is no number; give one that is, or leave it out")
    if not 0 <= limits.distance <= FURTHEST:
        raise ConfigError(f"--hash-distance {limits.distance} is not from 0 to {FURTHEST} of the 64 bits")
    usual = Limits()
    given = [
        name for name in ("cosine", "label_share", "outlier") if getattr(limits, name) != getattr(usual, name)
    ]
    if given and not has_embeddings:
        raise ConfigError(f"--{given[0].replace('_', '-')} is about embeddings; give a model by --embeddings")
    for option, value in (("--color-correlation", limits.correlation), ("--cosine", limits.cosine)):
        if not -1 <= value <= 1:
            raise ConfigError(f"{option} {value:g} is not from -1 to 1")


def _workers(wanted: int | None, images: int) -> int:
    if wanted is not None:
        if not 0 <= wanted <= 512:
            raise ConfigError(f"--workers {wanted} is not from 0 to 512")
        return wanted
    cores = physical_cores()
    return 0 if images < _SMALL or cores == 1 else min(cores, _MOST_WORKERS)


def line_of(splits: Splits, items: Sequence[Finding]) -> str:
    """Return a sentence about findings of one kind: their number, the most important one, and the advice."""
    first = items[0]
    example = printable(splits.name(first.image))
    if first.other is not None:
        split, other = splits.split_name(first.image), splits.split_name(first.other)
        example += f" of {split}" * (split != other) + f" = {printable(splits.name(first.other))}"
        example += f" of {other}" * (split != other)
    if first.detail:
        example += f" ({first.detail})"
    named = example if len(items) == 1 else f"for example {example}"
    about, advice = sentence(first.kind, len(items))
    return f"{first.kind}: {len(items):,} {about}: {named}; {advice}"


def _classes(number: int) -> str:
    return f"{number:,} class{'' if number == 1 else 'es'}"


def noted(splits: Splits, found: list[Finding]) -> list[str]:
    """Return sentences about the whole: missing, small and uneven classes, and thresholds that do not suit."""
    counts, names = splits.counts(), list(map(printable, splits.class_names))
    notes = []
    if len(splits.unnamed):
        several = int(np.isin(splits.labels, splits.unnamed).sum())
        shown = listed(map(str, splits.unnamed.tolist()))
        notes.append(f"{several:,} images have labels beyond the class names: {shown}")
    for place, part in enumerate(splits.parts):
        missing = np.flatnonzero((counts[:, place] == 0) & (counts.sum(axis=1) > 0)).tolist()
        if missing and counts[:, place].any():
            shown = listed(names[label] for label in missing)
            notes.append(f"{part.name} has no image of {_classes(len(missing))}: {shown}")
    first, learned = splits.parts[0].name, counts[:, 0]
    few = np.flatnonzero((learned > 0) & (learned < FEW)).tolist()
    if few:
        shown = listed(f"{names[label]} {learned[label]}" for label in few)
        notes.append(f"{first} has fewer than {FEW} images of {_classes(len(few))}: {shown}")
    least = learned[learned > 0].min(initial=len(splits))
    if learned.max(initial=0) > _UNEVEN * least:
        notes.append(
            f"{first} has {learned.max():,} images of {names[learned.argmax()]} and {least:,} of the smallest class; "
            "sampler.balanced shows classes equally often"
        )
    for kind, items in by_kind(found).items():
        if kind in _OPTIONS and len(items) > _MANY * len(splits):
            notes.append(
                f"{len(items) / len(splits):.0%} are {kind}: {_OPTIONS[kind]} may not suit these images"
            )
    return notes


def _fixed(splits: Splits, found: list[Finding], kinds: Sequence[str], folder: str) -> list[str]:
    dropped = dropped_images(found, kinds)
    if not dropped:
        return [f"--fix: no image is {', '.join(kinds)}, so the lists stay as they are"]
    keys = write_cleaned(folder, splits, dropped)
    counts = {kind: sum(kind == each.kind for found in dropped.values() for each in found) for kind in kinds}
    shown = ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count)
    reasons = os.path.join(folder, DROPPED_FILE)
    lines = [f"lists without {len(dropped):,} images ({shown}) in {folder}; the reasons are in {reasons}"]
    if keys:
        lines.append("to train with them: -o " + " ".join(f"{key}={path}" for key, path in keys.items()))
    return lines


class Progress:
    """Number and rate of images that are done, as a bar on a terminal and as a line now and then elsewhere."""

    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        self._title, self._total, self._stream = title, total, stream
        self._bar = progress_bar(stream)
        self._began = self._shown = time.monotonic()
        self.speed = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.end()

    def show(self, done: int) -> None:
        """Say that `done` images are done."""
        now = time.monotonic()
        rate = done / max(now - self._began, 1e-9)
        self.speed = f"{rate:,.0f} images/s"
        note = f"{self.speed}, {(self._total - done) / rate:.0f} s to go"
        if self._bar is not None:
            self._bar.show(self._title, done, self._total, note)
        elif now - self._shown > _SECONDS:
            self._shown = now
            print(f"{self._title} {done:,} of {self._total:,} images, {note}", file=self._stream, flush=True)
