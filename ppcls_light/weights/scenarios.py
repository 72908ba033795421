"""Weights that others published for a purpose, such as PULC's `person_exists`, as typed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from ..base.resources import PREFIX as PACKAGED
from ..config import Config, load_config
from .published import Source, content

PREFIX = "PULC_"


@dataclass(frozen=True)
class Scenario:
    """Published weights of a network that answers one question about a picture."""

    name: str
    config: str  # of configs/pulc/: network, transforms and answers
    overrides: tuple[str, ...]  # of that config
    about: str
    metric: str
    value: float  # % as published, on images of the publisher's own; not measured here
    size_mb: float  # of the exported network in 10^6 bytes, as published
    licence: str
    sources: tuple[Source, ...]

    @property
    def title(self) -> str:
        """Name, for messages."""
        return self.name

    def load_config(self, overrides: Iterable[str] = ()) -> Config:
        """Return its config, with `overrides` as in `config.load_config`."""
        return load_config(f"{PACKAGED}pulc/{self.config}.yaml", [*self.overrides, *overrides])


def list_scenarios() -> tuple[Scenario, ...]:
    """Return all of them, PULC's first."""
    return tuple(_row(name, entry) for name, entry in content()["scenarios"].items())


def find_scenario(name: str) -> Scenario | None:
    """Return the scenario called `name`, which may leave out PULC_ as in PaddleClas; None if there is none."""
    entries = content()["scenarios"]
    return next((_row(each, entries[each]) for each in (name, PREFIX + name) if each in entries), None)


def _row(name: str, entry: dict) -> Scenario:
    facts = {key: value for key, value in entry.items() if key not in ("set", "sources")}
    sources = tuple(Source(**source) for source in entry["sources"])
    return Scenario(name, overrides=tuple(entry.get("set", ())), sources=sources, **facts)
