"""Registries of names: a duplicate name raises, an unknown name is answered with the nearest ones."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Iterable, Sequence, TypeVar

from .errors import ConfigError

Entry = TypeVar("Entry", bound=Callable[..., Any])


def nearest(name: object, candidates: Iterable[str]) -> str:
    """Return `"; did you mean 'X'?"` for the candidate closest to `name`, or "" when none is close."""
    import difflib  # a millisecond, for errors alone

    by_lower = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[matches[0]]}'?" if matches else ""


class Registry:
    """Entries of one `kind` (a noun for messages, "transform" or "model") by case-insensitive names.

    The import of `modules` fills the registry. They are imported at a look-up, in turn until one has the name, so that
    asking for one kind does not import the rest of the package, nor asking for a transform all augmentations.
    """

    def __init__(self, kind: str, modules: Sequence[str] = ()) -> None:
        self.kind = kind
        self._modules = tuple(modules)
        self._entries: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str | None = None, aliases: Iterable[str] = ()) -> Callable[[Entry], Entry]:
        """Return a decorator that registers a class or function under `name` (default: its own name)."""

        def decorate(entry: Entry) -> Entry:
            own = name or entry.__name__
            for key in (own, *aliases):
                if key.lower() in self._aliases:
                    raise ValueError(f"{self.kind} '{key}' is registered twice")
                self._aliases[key.lower()] = own
            self._entries[own] = entry
            return entry

        return decorate

    def canonical(self, name: object) -> str:
        """Return the registered spelling of `name`. Raises ConfigError naming the nearest entries."""
        key = str(name).lower()
        for module in self._modules:
            if key in self._aliases:
                break
            importlib.import_module(module)
        if key not in self._aliases:
            known = self.names()
            hint = (
                nearest(name, known) or f"; known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
            )
            raise ConfigError(f"unknown {self.kind} {str(name)!r}{hint}")
        return self._aliases[key]

    def get(self, name: object) -> Any:
        """Return the entry called `name` in any case. Raises ConfigError naming the nearest entries."""
        return self._entries[self.canonical(name)]

    def names(self) -> list[str]:
        """Return the registered names in order of registration, without aliases."""
        for module in self._modules:
            importlib.import_module(module)
        return list(self._entries)


MODELS = Registry("model", ["ppcls_light.models"])
TRANSFORMS = Registry(
    "transform",
    [
        f"ppcls_light.data.{module}"
        for module in (
            "transforms.core",
            "transforms.crops",
            "augment.timm",
            "augment.rand",
            "augment.augmix",
            "transforms.color",
            "transforms.erase",
            "transforms.geometry",
            "transforms.paddle_vision",
        )
    ],
)
BATCH_TRANSFORMS = Registry("batch transform", ["ppcls_light.data.mix"])
FOLDS = Registry("fold", ["ppcls_light.models"])
PLANS = Registry("plan", ["ppcls_light.models"])
