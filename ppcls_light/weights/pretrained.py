"""Weights as a user names them: `True`, the name of a published training or scenario, an address, or a file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Union

from ..base.download import DownloadError
from ..base.files import StrPath, checksum
from ..errors import WeightsError
from . import cache, published, scenarios
from .convert import FORMATS, is_foreign, read_converted, require_weights
from .io import SUFFIXES, KeyReport, State, load_weights, read_weights, weights_file

if TYPE_CHECKING:
    from paddle import nn

logger = logging.getLogger(__name__)

Named = Union[StrPath, bool]
Published = Union[published.Training, scenarios.Scenario]


class Pretrained(NamedTuple):
    """Weights under this project's names, and the file that they are from."""

    state: State
    file: cache.Found
    owner: str = ""  # of the names that the keys had; "": our own

    def log_loaded(self, report: KeyReport, name: str | None = None) -> None:
        """Log `name` (default: the path) in PaddleClas' words, and the way of the keys as `report` has it."""
        mapped = f" from {self.owner} names" if self.owner else ""
        head = f"a new head ({', '.join(report.replaced)})" if report.replaced else "its head, too"
        logger.info("Finish load pretrained model from %s", name or self.file.path)
        logger.info(
            "%s%s, SHA-256 %s: %d keys%s, %s",
            self.file.path,
            f" ({self.file.origin})" if self.file.origin else "",
            self.file.sha256[:12],
            *(len(report.loaded), mapped, head),
        )


def local_file(source: Named, arch: str) -> cache.Found:
    """Return the file of weights that `source` names for the network `arch`, fetched if it is elsewhere.

    `source` is True for the first published training of the network, the name of another one or of a scenario such as
    PULC_person_exists, an https address, or a path, with or without the suffix `.pdparams` or `.safetensors`; a file
    whose name is that of a training is `./NAME`.

    Raises WeightsError: there is no such training or file, or no address gives it.
    """
    source = source if isinstance(source, bool) else os.fspath(source)
    row = _published(source, arch)
    if row is not None:
        return fetched(row)
    assert isinstance(source, str)  # True is published
    if "://" in source:
        return cache.from_url(source, require_weights)
    path = source if source.endswith(FORMATS) and os.path.isfile(source) else _weights_file(source, arch)
    return cache.Found(path, "", checksum(path, WeightsError))


def _published(source: str | bool, arch: str) -> Published | None:
    if isinstance(source, bool) or source in published.training_names():
        return published.training(arch, None if isinstance(source, bool) else source)
    row = scenarios.find_scenario(source)
    return row if row is not None and row.name == source else None  # the short form may be a file's name


def require_there(source: str, arch: str) -> None:
    """Raise WeightsError if `source` is a path without weights; a name or an address is not tried."""
    if _published(source, arch) is None and "://" not in source:
        _weights_file(source, arch)


def fetched(row: Published) -> cache.Found:
    """Return the file of published weights, fetched if it is not on this machine. WeightsError: no address gives it."""
    return cache.obtain(row.title, row.sources, require_weights, row.size_mb)


def _weights_file(path: str, arch: str) -> str:
    try:
        return weights_file(path)
    except WeightsError as problem:
        rows = published.list_pretrained(arch)
        if os.path.dirname(path) or not rows:
            raise
        names = ", ".join(row.name for row in rows)
        raise WeightsError(f"{problem}; trainings of {arch} that were published: {names}") from None


def record_sums(row: Published, table: Path = published.TABLE) -> None:
    """Fetch the file of every address of `row` anew, and write its SHA-256 into `table` where it has none.

    Raises WeightsError: an address gives no such file, or one with another sum than the table's. What the others gave
    is recorded.
    """
    reasons = []
    for source in row.sources:
        try:
            digest = cache.seen(source, require_weights)
        except DownloadError as reason:
            reasons.append(f"{source.address}: {reason}")
        else:
            published.record(source.url, digest, table)
            logger.info("%s: SHA-256 %s", source.address, digest)
    if reasons:
        raise WeightsError(f"{row.title}: {'; '.join(reasons)}")


def read_pretrained(source: Named, arch: str) -> Pretrained:
    """Return the weights that `source` names (see `local_file`) for the network `arch`.

    Files of torch, and `.safetensors` with torch's or timm's names, are converted; see `convert.convert_file`.
    """
    file = local_file(source, arch)
    if file.path.endswith(SUFFIXES):
        state = read_weights(file.path)
        if file.path.endswith(".pdparams") or not is_foreign(state, arch):
            return Pretrained(state, file)
    state, report = read_converted(file.path, arch, None if file.ema else False)
    return Pretrained(state, file, report.owner)


def load_pretrained(model: nn.Layer, source: Named, reset_head: bool = False) -> KeyReport:
    """Load the weights that `source` names into `model`, which `create_model` made; see `load_weights`. Log them."""
    weights = read_pretrained(source, model.model_name)
    report = load_weights(model, weights.state, reset_head, source=weights.file.path)
    weights.log_loaded(report)
    return report
