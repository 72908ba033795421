"""`load_as`: YAML files and `-o` overrides into any dataclass of sections; `dump_config`: back to YAML."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, TypeVar

from ..base.files import StrPath
from .bind import bind
from .elsewhere import refuse_other_tasks
from .moved import relocated
from .tree import Node, apply_override, dump_yaml, from_plain, read_tree
from .types import Sections, plain

S = TypeVar("S", bound=Sections)
Plain = Mapping[str, Any]  # sections as YAML has them: dicts, lists and scalars


def load_as(cls: type[S], source: StrPath | Plain, overrides: Iterable[str] = ()) -> S:
    """Read a dataclass `cls` of sections from a YAML file, or from its sections as a dict; see `load_config`."""
    return bound(cls, tree_of(source), overrides)


def tree_of(source: StrPath | Plain) -> Node:
    """Return the tree of a YAML file, or of sections as a dict."""
    return from_plain(source) if isinstance(source, Mapping) else read_tree(source)


def bound(
    cls: type[S], tree: Node, overrides: Iterable[str], settle: Callable[[Node], None] | None = None
) -> S:
    """Return `cls` as `tree` has it with `overrides` applied in order; `settle` then changes older spellings in it."""
    for override in overrides:
        apply_override(tree, override)
    refuse_other_tasks(tree)
    if settle is not None:
        settle(tree)
    config = bind(cls, tree)
    config.tree = tree
    return config


def dump_config(config: Sections, moved: Mapping[str, str] | None = None) -> str:
    """Return the fully resolved config as YAML; loading it again gives the same config.

    `moved`: {absolute path: path it has now} of files that have been moved since the config was read.
    """
    return dump_yaml(relocated(plain(config), moved or {}))
