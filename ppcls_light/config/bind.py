"""Validation of parsed YAML against dataclasses and constructor signatures; unknown keys are errors.

One mechanism serves both: the parameters of `__init__` are the keys, their annotations the types, their
defaults the defaults. An unknown key, a wrong type or a value out of range is one line with its place,
its dotted path, the expected type and an example.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union

from ..errors import ConfigError, UserError
from ..registry import Registry, nearest
from .tree import Node, from_plain, message
from .types import FromRegistry, Given, Keyed, Op, Range, Unnamed, WithParams

_SINGULAR = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
_PLURAL = {bool: "true/false values", int: "whole numbers", float: "numbers", str: "texts"}
_EXAMPLES = {bool: "true", int: "10", float: "0.1", str: "some_text"}

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_LEAST, _MOST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # normal numbers of float32
_LARGEST_INT = 2**63 - 1  # int64

T = TypeVar("T")


def bind(cls: Callable[..., T], node: Node, path: str = "") -> T:
    """Build `cls` (a dataclass) from the mapping in `node`; None stands for an empty mapping.

    Raises ConfigError: with "file:line: dotted.path: problem" for the first thing wrong.
    """
    arguments = check_arguments(cls, node, path)
    try:
        return cls(**arguments)
    except UserError as error:
        raise type(error)(message(_place_of(str(error), node), path, str(error))) from None


def _place_of(problem: str, node: Node) -> str:
    """Return the place of the key of `node` with which `problem` begins, or else that of the node."""
    for key in problem.partition(":")[0].split("."):
        if not isinstance(node.value, dict) or key not in node.value:
            break
        node = node.value[key]
    return node.where


def bind_plain(cls: Callable[..., T], values: Mapping[str, Any], where: str) -> T:
    """Build `cls` from plain Python values; `where` names their origin in messages."""
    return bind(cls, from_plain(values, where))


@contextlib.contextmanager
def located(where: str, path: str) -> Iterator[None]:
    """Put `where: path:` in front of a UserError raised inside, for checks a signature cannot express."""
    try:
        yield
    except UserError as error:
        raise type(error)(message(where, path, str(error))) from None


def check_arguments(
    target: Callable[..., Any], node: Node, path: str, skip: Collection[str] = ()
) -> dict[str, Any]:
    """Return the keyword arguments for `target` that `node` gives, checked and converted.

    Keywords of a `functools.partial` count as defaults; parameters in `skip` are unknown keys here.
    """
    parameters, hints, open_ended = signature(target)
    parameters = {name: default for name, default in parameters.items() if name not in skip}
    arguments = {}
    for key, child in _mapping(node, path, parameters).items():
        if key in parameters:
            arguments[key] = _convert(hints[key], child, _join(path, key))
        elif open_ended is not None and key not in skip:
            arguments[key] = _convert(open_ended, child, _join(path, key))
        else:
            raise unknown_key(child.where, path, key, parameters)
    for name, default in parameters.items():
        if default is inspect.Parameter.empty and name not in arguments:
            example = f"{name}: {_example(hints[name])}"
            raise ConfigError(
                message(node.where, f"{_join(path, name)} is missing; add it, for example {example}")
            )
    return arguments


def unknown_key(where: str, path: str, key: str, known: Iterable[str]) -> ConfigError:
    """Return the ConfigError for a key that `path` does not have."""
    hint = nearest(key, known) or f"; known keys: {', '.join(known) or 'none'}"
    return ConfigError(message(where, f"unknown key {_join(path, key)}{hint}"))


def signature(target: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Return {name: default}, {name: annotation} and the annotation of `**further` keywords.

    Without an annotation (None) further keywords are not the user's: `object.__init__` claims to take any.
    """
    given = {}
    if isinstance(target, functools.partial):
        target, given = target.func, target.keywords
    init = target.__init__ if inspect.isclass(target) else target
    if init is object.__init__:
        return {}, {}, None
    hints = typing.get_type_hints(init, include_extras=True)
    parameters, open_ended = {}, None
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = hints.get(name)
        elif name != "self" and parameter.kind is not parameter.VAR_POSITIONAL:
            parameters[name] = given.get(name, parameter.default)
    return parameters, hints, open_ended


def _mapping(node: Node, path: str, keys: Iterable[str]) -> dict[str, Node]:
    fields = {} if node.value is None else node.value
    if not isinstance(fields, dict):
        raise _wrong(node, path, "a mapping of keys", f"{{{next(iter(keys), 'key')}: ...}}")
    return fields


def _convert(annotation: Any, node: Node, path: str) -> Any:
    if annotation is Any:
        return node.plain()
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return bind(annotation, node, path)
    convert = _CONVERTERS.get(typing.get_origin(annotation), _convert_scalar)
    return convert(annotation, node, path)


def _convert_literal(annotation: Any, node: Node, path: str) -> Any:
    choices = typing.get_args(annotation)
    for choice in choices:
        if type(choice) is type(node.value) and choice == node.value:
            return choice
    hint = nearest(node.value, map(str, choices)) if isinstance(node.value, str) else ""
    raise _wrong(node, path, describe(annotation), choices[0], hint)


def _convert_dict(annotation: Any, node: Node, path: str) -> Any:
    if not isinstance(node.value, dict):
        raise _wrong(node, path, "a mapping", "{}")
    member = typing.get_args(annotation)[1]
    return {key: _convert(member, child, _join(path, key)) for key, child in node.value.items()}


def _convert_items(annotation: Any, node: Node, path: str) -> Any:
    as_type, members = typing.get_origin(annotation), typing.get_args(annotation)
    if not isinstance(node.value, list) or (as_type is tuple and len(node.value) != len(members)):
        raise _wrong(node, path, describe(annotation), _example(annotation))
    members = members if as_type is tuple else members * len(node.value)
    return as_type(
        _convert(member, item, _join(path, index))
        for index, (member, item) in enumerate(zip(members, node.value))
    )


def _convert_annotated(annotation: Any, node: Node, path: str) -> Any:
    plain, mark = typing.get_args(annotation)
    if isinstance(mark, FromRegistry):
        return _convert_op(mark.registry, node, path)
    if isinstance(mark, Keyed):
        return _convert_keyed(plain, node, path)
    if isinstance(mark, WithParams):
        return _convert_with_params(plain, mark, node, path)
    if isinstance(mark, Given):
        bind(mark.of, node, path)  # checks what a signature cannot express
        return check_arguments(mark.of, node, path, skip=("name",))
    if isinstance(mark, Unnamed):
        fields = _mapping(node, path, ())
        return _convert(plain, Node({"name": Node(mark.default, node.where), **fields}, node.where), path)
    value = _convert(plain, node, path)
    if value not in mark:
        raise _wrong(node, path, describe(annotation), _example(annotation))
    return value


def _convert_op(registry: Registry, node: Node, path: str) -> Op:
    if isinstance(node.value, str):
        node = Node({node.value: Node(None, node.where)}, node.where)
    name, params = _one_key(node, path, "{CropImage: {size: 224}}")
    with located(params.where, path):
        name, entry = registry.canonical(name), registry.get(name)
    arguments = check_arguments(entry, params, _join(path, name))
    with located(params.where, _join(path, name)):
        entry(**arguments)
    return Op(name, arguments)


def _convert_keyed(annotation: Any, node: Node, path: str) -> Any:
    choices = {cls.__name__: cls for cls in typing.get_args(annotation) or (annotation,)}
    name, params = _one_key(node, path, f"{{{next(iter(choices))}: {{key: value}}}}")
    if name not in choices:
        raise unknown_key(params.where, path, name, choices)
    return bind(choices[name], params, _join(path, name))


def _one_key(node: Node, path: str, example: str) -> tuple[str, Node]:
    if not isinstance(node.value, dict) or len(node.value) != 1:
        raise _wrong(node, path, "one name with its parameters (check the indentation)", example)
    return next(iter(node.value.items()))


def _convert_with_params(cls: type, mark: WithParams, node: Node, path: str) -> Any:
    own = [field.name for field in dataclasses.fields(cls) if field.name != "params"]
    children = _mapping(node, path, own)
    named = {key: child for key, child in children.items() if key in own}
    others = {key: child for key, child in children.items() if key not in own}
    bound = bind(cls, Node(named, node.where), path)
    with located(named["name"].where, _join(path, "name")):
        bound.name, entry = mark.registry.canonical(bound.name), mark.registry.get(bound.name)
    known = [*own, *(name for name in signature(entry)[0] if name not in (*own, *mark.hidden))]
    for key, child in others.items():
        if key not in known:
            raise unknown_key(child.where, path, key, known)
    bound.params = check_arguments(entry, Node(others, node.where), path, skip=(*own, *mark.hidden))
    return bound


def _convert_union(annotation: Any, node: Node, path: str) -> Any:
    given = typing.get_args(annotation)
    if node.value is None and type(None) in given:
        return None
    # Text last: it would take a number as well.
    members = sorted((member for member in given if member is not type(None)), key=lambda m: m is str)
    by_name = {name: cls for cls in members for name in _names(cls)}
    if by_name and (all(map(_names, members)) or _name_of(node) in by_name):
        return _convert_named(by_name, node, path)
    members = [member for member in members if not _names(member)]
    if len(members) == 1:
        return _convert(members[0], node, path)
    for member in members:
        with contextlib.suppress(ConfigError):
            return _convert(member, node, path)
    raise _wrong(node, path, describe(annotation), _example(annotation))


def _names(cls: Any) -> tuple[str, ...]:
    """Return the values of `name` that stand for the dataclass `cls`; () for anything else."""
    hints = typing.get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
    return typing.get_args(hints.get("name"))


def _name_of(node: Node) -> str | None:
    """Return the text of the mapping's `name`, or None."""
    name = node.value.get("name") if isinstance(node.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _convert_named(by_name: dict[str, type], node: Node, path: str) -> Any:
    """Choose among dataclasses, given by name, by the mapping's `name`."""
    if not isinstance(node.value, dict) or "name" not in node.value:
        raise _wrong(node, path, "a mapping with a name", f"{{name: {next(iter(by_name))}, ...}}")
    name = node.value["name"]
    if not isinstance(name.value, str) or name.value not in by_name:
        hint = nearest(name.value, by_name) or f"; known: {', '.join(by_name)}"
        raise ConfigError(message(name.where, _join(path, "name"), f"unknown name {_shown(name)}{hint}"))
    return bind(by_name[name.value], node, path)


def _convert_scalar(annotation: Any, node: Node, path: str) -> Any:
    if annotation not in _READERS:
        raise TypeError(f"{path}: annotation {annotation!r} is not one that a config can be checked against")
    value = _READERS[annotation](node, path)
    if value is None:
        raise _wrong(node, path, describe(annotation), _EXAMPLES[annotation])
    return value


def _read_bool(node: Node, path: str) -> bool | None:
    return node.value if isinstance(node.value, bool) else None


def _read_int(node: Node, path: str) -> int | None:
    value = node.value
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INT
    return value if fits else None


def _read_float(node: Node, path: str) -> float | None:
    number = _number(node.value)
    if number and not _LEAST <= abs(number) <= _MOST:
        hint = f"; computing is in float32, which holds {_LEAST:.1e} to {_MOST:.1e} and 0"
        raise _wrong(node, path, describe(float), _EXAMPLES[float], hint)
    return number


def _read_text(node: Node, path: str) -> str | None:
    value = node.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value) if node.text is None else node.text
    if not isinstance(value, str):
        return None
    if re.search("[\n\r\0\x85\u2028\u2029]", value):
        raise _wrong(node, path, "text on one line", _EXAMPLES[str])
    return value


_READERS = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_text}
_CONVERTERS = {
    Annotated: _convert_annotated,
    Union: _convert_union,
    Literal: _convert_literal,
    list: _convert_items,
    tuple: _convert_items,
    dict: _convert_dict,
}


def _number(value: Any) -> float | None:
    """Return `value` as a finite float: a number, its text, or a fraction "a/b"; None for anything else."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split("/")]
        if len(parts) > 2 or not all(map(_NUMBER.fullmatch, parts)):
            return None
        divisor = float(parts[1]) if len(parts) == 2 else 1.0
        value = float(parts[0]) / divisor if divisor else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _wrong(node: Node, path: str, expected: str, example: Any, hint: str = "") -> ConfigError:
    key = path.rsplit(".", 1)[-1]
    example = f"{key}: {example}" if key and not key.isdigit() else f"{example}"
    problem = f"expected {expected}, got {_shown(node)}{hint or f'; for example {example}'}"
    return ConfigError(message(node.where, path, problem))


def _shown(node: Node) -> str:
    text = repr(node.plain())
    return text if len(text) <= 60 else text[:57] + "..."


def describe(annotation: Any) -> str:
    """Return what values an `annotation` stands for, in words."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated and isinstance(members[1], Range):
        return f"{describe(members[0])} {members[1]}"
    if origin is Union:
        return " or ".join(map(describe, members))
    if origin is Literal:
        shown = [repr(member) if member == "" else str(member) for member in members]
        return f"one of {', '.join(shown)}" if len(shown) > 1 else f"'{shown[0]}'"
    if origin is list:
        return f"a list of {_describe_many(members[0])}"
    if origin is tuple:
        items = _describe_many(members[0]) if len(set(members)) == 1 else "values"
        return f"a list of {len(members)} {items}"
    return _SINGULAR.get(annotation, "a mapping")


def _describe_many(annotation: Any) -> str:
    if typing.get_origin(annotation) is Annotated and isinstance(typing.get_args(annotation)[1], Range):
        plain, bounds = typing.get_args(annotation)
        return f"{_PLURAL[plain]} {bounds}"
    return _PLURAL.get(annotation, "entries")


def _example(annotation: Any) -> str:
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        mark = members[1]
        if isinstance(mark, (Keyed, FromRegistry)):
            return "{Name: {key: value}}"
        return mark.example(_EXAMPLES[members[0]]) if isinstance(mark, Range) else _example(members[0])
    if origin is Union:
        return _example(members[0])
    if origin is Literal:
        return str(members[0])
    if origin in (list, tuple):
        items = members if origin is tuple else members[:1]
        return f"[{', '.join(map(_example, items))}]"
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _example_mapping(annotation)
    return _EXAMPLES.get(annotation, "{}")


def _example_mapping(cls: type) -> str:
    parameters, hints, _ = signature(cls)
    required = [name for name, default in parameters.items() if default is inspect.Parameter.empty]
    return f"{{{', '.join(f'{name}: {_example(hints[name])}' for name in required)}}}"


def _join(path: str, key: Union[str, int]) -> str:
    return f"{path}.{key}" if path else f"{key}"
