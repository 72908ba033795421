"""Table of the weights that others published, `published.yaml`, as typed rows; those for a purpose are `scenarios`."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable
from urllib.parse import urlsplit

import yaml

from ..base.files import write_text
from ..errors import WeightsError
from ..registry import MODELS

TABLE = Path(__file__).with_name("published.yaml")
IMAGENET_CLASSES = 1000
HUGGING_FACE = "https://huggingface.co"
MIRROR_VARIABLE = "PPCLS_LIGHT_MIRROR"

_OWNERS = {
    "paddle-imagenet-models-name.bj.bcebos.com": "PaddleClas",
    "paddle-model-ecology.bj.bcebos.com": "PaddleX",
    "github.com": "GitHub",
    "huggingface.co": "Hugging Face",
    "www.svcl.ucsd.edu": "UCSD (http)",
}

# Of torch.hub's names, NAME-HASH.pth; elsewhere these may be the digits of a date.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


@dataclass(frozen=True)
class Evaluation:
    """Preparation of an image for a published top-1; sizes in pixels, mean and std of channels in 0 to 1."""

    size: int  # of the crop at the centre
    resize: int  # of the short side
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """One address of weights."""

    url: str
    sha256: str | None = None  # None: nobody here has seen the file
    ema: bool = False  # the weights meant are the moving average in the checkpoint, where it has one
    in_table: bool = True  # False: an address of the user's own

    @property
    def file(self) -> str:
        """Name of the file in the cache."""
        path = urlsplit(self.url).path
        if self.in_table and self.url.startswith(
            f"{HUGGING_FACE}/"
        ):  # each is called model.safetensors there
            owner, repository = path.split("/")[1:3]
            return f"{owner}--{repository}.safetensors"
        return os.path.basename(path)

    @property
    def known(self) -> str:
        """The SHA-256 of the file, its first digits where only its name has them, or ""."""
        match = _HASH_IN_NAME.search(self.file) if self.in_table else None
        return self.sha256 or (match[1] if match else "")

    @property
    def address(self) -> str:
        """`url`, or where the environment says that its file is: PPCLS_LIGHT_MIRROR (the table's), HF_ENDPOINT."""
        mirror, endpoint = os.environ.get(MIRROR_VARIABLE), os.environ.get("HF_ENDPOINT")
        if mirror and self.in_table:
            return f"{mirror.rstrip('/')}/{self.url.split('://', 1)[1]}"
        if endpoint and self.url.startswith(f"{HUGGING_FACE}/"):
            return endpoint.rstrip("/") + self.url[len(HUGGING_FACE) :]
        return self.url


@dataclass(frozen=True)
class Training:
    """Published weights of one training of the network `network`: ImageNet-1k, 1000 classes."""

    network: str
    name: str  # among the trainings of its network
    is_default: bool  # the one of `pretrained=True`
    top1: float | None  # % on ImageNet's validation images as published, not measured here; None: nobody did
    size_mb: float  # of the weights in 10^6 bytes
    licence: str
    evaluation: Evaluation
    sources: tuple[Source, ...]  # of the same weights, in the order in which they are tried

    @property
    def title(self) -> str:
        """Network and name, for messages."""
        return f"{self.network} {self.name}"


_COLUMNS = ("network", "training", "top-1 (%)", "MB", "input", "licence", "sources")


class Trainings(tuple[Training, ...]):
    """Trainings that print as a table."""

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_cells(training) for training in self)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

    def _repr_html_(self) -> str:
        """Return the table, for a notebook."""
        from ..base.html import table

        return table(_COLUMNS, map(_cells, self))


def list_pretrained(pattern: str = "*") -> Trainings:
    """Return the published trainings of the networks that match the shell-style `pattern`, in any case.

    The first of a network is the one of `create_model(name, pretrained=True)`, `pretrained="NAME"` takes another.
    `print` shows them as a table.
    """
    return Trainings(row for row in _table() if fnmatch.fnmatch(row.network.lower(), pattern.lower()))


def training_names() -> frozenset[str]:
    """Return the names that a training of any network has."""
    return frozenset(row.name for row in _table())


def training(network: str, name: str | None = None) -> Training:
    """Return the training of `network` called `name`, or its first. Raises WeightsError: names those there are."""
    network = MODELS.canonical(network)
    found = [row for row in _table() if row.network == network]
    for row in found:
        if row.is_default if name is None else row.name == name:
            return row
    if not found:
        raise WeightsError(
            f"nobody published weights of {network}; ppcls_light.list_pretrained() has the networks with some"
        )
    there = ", ".join(_described(row) for row in found)
    raise WeightsError(f"{network} has no published weights called {name}; there are: {there}")


def source_at(url: str) -> Source | None:
    """Return the Source in the table whose address is `url`."""
    networks, scenarios = content()["networks"], content()["scenarios"]
    trainings = [*scenarios.values(), *(each for entry in networks.values() for each in entry["trainings"])]
    return next(
        (Source(**given) for each in trainings for given in each["sources"] if given["url"] == url), None
    )


def record(url: str, sha256: str, path: Path = TABLE) -> None:
    """Write the sum of the file at `url` into the table at `path` where it has null. WeightsError: it has another."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for index, line in enumerate(lines):
        if f"url: {url}," not in line or f"sha256: {sha256}" in line:
            continue
        if "sha256: null" not in line:
            raise WeightsError(f"{path}:{index + 1}: {url} now has the SHA-256 {sha256}; see who is right")
        lines[index] = line.replace("sha256: null", f"sha256: {sha256}")
    write_text(path, "".join(lines), WeightsError)
    content.cache_clear()
    _table.cache_clear()


@functools.lru_cache(maxsize=1)
def content() -> dict[str, Any]:
    """Return the table as YAML has it."""
    read: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return read


@functools.lru_cache(maxsize=1)
def _table() -> tuple[Training, ...]:
    return tuple(row for network, entry in content()["networks"].items() for row in _rows(network, entry))


def _rows(network: str, entry: dict[str, Any]) -> Iterable[Training]:
    for index, given in enumerate(entry["trainings"]):
        sources = tuple(Source(**source) for source in given["sources"])
        facts: dict[str, Any] = dict(given["evaluation"])
        facts.update(mean=tuple(facts["mean"]), std=tuple(facts["std"]))
        known = {**given, "sources": sources, "evaluation": Evaluation(**facts)}
        yield Training(network=network, is_default=index == 0, size_mb=entry["size_mb"], **known)


def _cells(row: Training) -> tuple[str, ...]:
    top1 = "-" if row.top1 is None else f"{row.top1:.2f}"
    name = row.name + (" (default)" if row.is_default else "")
    hosts = (urlsplit(source.url).netloc for source in row.sources)
    owners = ", ".join(dict.fromkeys(_OWNERS.get(host, host) for host in hosts))
    size, pixels = f"{row.size_mb:.1f}", str(row.evaluation.size)
    return row.network, name, top1, size, pixels, row.licence, owners


def _described(row: Training) -> str:
    top1 = "" if row.top1 is None else f" ({row.top1:g} %)"
    return f"{row.name}{top1}" + (" by pretrained: true" if row.is_default else "")
