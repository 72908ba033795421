"""`Sections`, the base class of configs, and type annotations with ranges or name-dependent parameters."""

import dataclasses
from typing import Annotated, Any, Dict, NamedTuple, Optional, Tuple

from ..registry import Registry
from .tree import Node, dump_yaml, message


class Sections:
    """Base of a config's dataclass, with the places where its values were written.

    `tree` is the YAML that was read; a config built in Python has none, and its messages name keys only.
    """

    tree: Optional[Node] = None

    def where(self, path: str) -> str:
        """Return the "file:line" or the option that set `path` or the nearest key above it; "" if none is known."""
        node = self.tree
        if node is None:
            return ""
        for key in path.split("."):
            children = node.value
            if isinstance(children, dict) and key in children:
                node = children[key]
            elif isinstance(children, list) and key.isdigit() and int(key) < len(children):
                node = children[int(key)]
            else:
                break
        return node.where

    def _repr_html_(self) -> str:
        """Return the YAML of the config, for a notebook."""
        from ..base.html import text

        lines = "\n".join(map(text, dump_yaml(plain(self)).splitlines()))
        return f"<pre><code>{lines}</code></pre>"

    def place(self, path: str) -> str:
        """Return the beginning of a message about `path`: "file:line: path", or the path only."""
        return message(self.where(path), path)


class Range(NamedTuple):
    """Bounds of a number; `low_open`/`high_open` exclude the bound itself."""

    low: Optional[float] = None
    high: Optional[float] = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: Any) -> bool:
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below

    def example(self, default: str) -> str:
        """Return `default`, an example as text, or a bound where `default` is out of bounds."""
        if float(default) in self:
            return default
        return f"{self.low if self.low is not None else self.high:g}"

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'>' if self.low_open else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.high_open else '<='} {self.high:g}")
        return " and ".join(parts)


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, low_open=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]
ByteValue = Annotated[int, Range(0, 255)]


class Op(NamedTuple):
    """A named operation and its parameters, as written in YAML: `{Name: {key: value}}`."""

    name: str
    params: Dict[str, Any]


class FromRegistry(NamedTuple):
    """Marks an `Op` whose name and parameters are those of an entry of `registry`."""

    registry: Registry


class Keyed(NamedTuple):
    """Marks a dataclass, or a union of some, written as `{ClassName: {key: value}}`."""


class Unnamed(NamedTuple):
    """Marks a union of dataclasses told apart by `name`: a mapping without one is the one called `default`."""

    default: str


class Given(NamedTuple):
    """Marks a dict of the keys of a dataclass `of` that are given, checked; the others keep values from elsewhere."""

    of: type


class WithParams(NamedTuple):
    """Marks a dataclass with fields `name` and `params`: its other keys belong to the entry called `name`.

    `params` holds them. `hidden` names the entry's parameters that are not the user's to set.
    """

    registry: Registry
    hidden: Tuple[str, ...] = ()


class Spelled:
    """Base of a section whose keys in YAML are not its fields one by one."""

    def spelled(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Return `fields`, plain values by name, as YAML has them."""
        raise NotImplementedError


def plain(value: Any) -> Any:
    """Return a config, or a value in one, as dicts, lists and scalars, which bind to the same again."""
    if isinstance(value, Op):
        return {value.name: plain(value.params) or None}
    if dataclasses.is_dataclass(value):
        names = sorted((f.name for f in dataclasses.fields(value)), key=lambda name: name != "name")
        fields = {name: plain(getattr(value, name)) for name in names}
        return value.spelled(fields) if isinstance(value, Spelled) else fields
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [
            {type(item).__name__: plain(item)} if dataclasses.is_dataclass(item) else plain(item)
            for item in value
        ]
    return value
