"""YAML parsing into nodes that record file and line; merging of `_base_` files and `-o` overrides.

Scalars follow YAML 1.2's core schema, read more narrowly than PyYAML does: `3e-5` is a number, while
`12:30`, `2024-01-31` and `010` are text. Two habits of PaddleClas' files are kept: `yes/no/on/off` are
booleans, and `None` is null.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from dataclasses import dataclass
from typing import Any, Mapping

import yaml

from ..base.files import StrPath, open_plain
from ..base.resources import PREFIX, config_path, configs_folder
from ..errors import ConfigError

# Far above any config, and low enough that a file made to exhaust memory fails at once.
_MAX_BYTES = 1_000_000
_MAX_NODES = 100_000
_MAX_DEPTH = 50
_MAX_KEY_LENGTH = 100

_TAG = "tag:yaml.org,2002:"


@dataclass
class Node:
    """YAML value: a scalar, a `dict[str, Node]` or a `list[Node]`, and its place ("file:line").

    `text` is a scalar as it was written, so that `output_dir: 1e3` can mean that folder.
    """

    value: Any
    where: str
    text: str | None = None

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


def message(*parts: str) -> str:
    """Return the non-empty `parts` of an error message (place, key, problem), joined by colons."""
    return ": ".join(filter(None, parts))


def from_plain(values: Any, where: str = "") -> Node:
    """Return dicts, lists, tuples, arrays, paths and scalars as a tree; `where` names their origin in messages."""
    if hasattr(type(values), "tolist"):  # of numpy, which YAML does not know
        values = values.tolist()
    if isinstance(values, Mapping):
        return Node({str(key): from_plain(child, where) for key, child in values.items()}, where)
    if isinstance(values, (list, tuple)):
        return Node([from_plain(child, where) for child in values], where)
    return Node(os.fspath(values) if isinstance(values, os.PathLike) else values, where)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - add_implicit_resolver fills the class's


# libyaml's parser takes an eighth of the time, a twentieth of a second for 1000 class names. Before 0.2.6 it had no
# bound on nesting, and a file could end the process.
_HAS_LIBYAML = yaml.__with_libyaml__ and yaml._yaml.get_version() >= (0, 2, 6)


class _FastLoader(yaml.CSafeLoader if _HAS_LIBYAML else yaml.SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - add_implicit_resolver fills the class's


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes the text that only `_Loader` takes for something else."""

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """Put a list of scalars on one line, as people write it."""
        scalars = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=scalars)


for _name, _pattern, _first in (
    ("bool", r"(yes|no|true|false|on|off|Yes|No|True|False|On|Off|YES|NO|TRUE|FALSE|ON|OFF)", "yntfoYNTFO"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))", "-+."),
    ("null", r"(~|null|Null|NULL|None|)", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    for _class in (_Loader, _FastLoader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), list(_first))


def parse_yaml(text: str, origin: str, numbered: bool = True) -> Node:
    """Parse one YAML document into a `Node`.

    `origin` names the file or the option in messages; `numbered` adds the line to it.

    Raises ConfigError: not YAML, a key given twice, an alias within itself, or too many values.
    """
    builder = _Builder(origin, numbered)
    try:
        root = _root(text)
        return Node(None, builder.where(0)) if root is None else builder.build(root, _Loader(""))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise ConfigError(
            f"{builder.where(line)}: not valid YAML: character U+{error.character:04X} is not allowed; remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, (error.context, error.problem)))
        hint = "; indent with spaces, not tabs" if r"'\t'" in problem else ""
        where = builder.where(mark.line) if mark else origin
        raise ConfigError(f"{where}: not valid YAML: {problem}{hint}") from None
    except RecursionError:
        raise ConfigError(f"{origin}: values are nested too deeply for a config") from None


def _root(text: str) -> yaml.Node | None:
    """Return the root of one YAML document. Raises YAMLError in the words of PyYAML's own parser.

    libyaml takes tabs in places where PyYAML does not, so that a config would be right on some machines only.
    """
    if "\t" not in text:
        with contextlib.suppress(yaml.YAMLError):
            return _compose(_FastLoader, text)
    return _compose(_Loader, text)


def _compose(cls: type[_Loader | _FastLoader], text: str) -> yaml.Node | None:
    loader = cls(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def parse_literal(text: str, origin: str) -> Node:
    """Parse the value of `-o key=value`.

    A list, a mapping or quoted text is YAML in flow style. Anything else is one scalar, so that a path may
    hold "=", ": ", "#" and spaces; `true`, `null`, `None`, `5`, `3e-5` are values.
    """
    text = text.strip()
    if not text:
        return Node("", origin, "")
    if text[0] in "[{\"'":
        return parse_yaml(text, origin, numbered=False)
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return Node(_scalar_value(loader, tag, text), origin, text)
    finally:
        loader.dispose()


def dump_yaml(plain: Any) -> str:
    """Return plain values (dicts, lists, scalars) as YAML that `parse_yaml` reads back as the same values."""
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def read_tree(path: StrPath, _children: tuple[str, ...] = ()) -> Node:
    """Read a YAML file and the files its `_base_` names (relative to it), bases first.

    `ppcls_light:FOLDER/FILE` names a config that comes with the package, as path and as base.

    Raises ConfigError: the file is missing, not YAML, not a mapping, or inherits from itself.
    """
    path = config_path(os.fspath(path))
    tree = parse_yaml(_read_text(path), path)
    real = os.path.realpath(path)
    if tree.value is None:
        return Node({}, tree.where)
    if not isinstance(tree.value, dict):
        raise ConfigError(f"{tree.where}: a config is a mapping of sections such as 'Global:'")
    bases = tree.value.pop("_base_", None)
    if bases is None:
        return tree
    merged = Node({}, tree.where)
    for base in bases.value if isinstance(bases.value, list) else [bases]:
        if not isinstance(base.value, str):
            raise ConfigError(
                f"{base.where}: _base_: expected a path, got {base.plain()!r}; for example ../_base_/cls.yaml"
            )
        base_path = os.path.join(os.path.dirname(path), config_path(base.value))
        if not os.path.isfile(base_path):
            raise ConfigError(f"{base.where}: _base_: no such file: {base_path}")
        if os.path.realpath(base_path) in (*_children, real):
            raise ConfigError(f"{base.where}: _base_: {base_path} leads back to itself; remove this line")
        merged = merge(merged, read_tree(base_path, (*_children, real)))
    return merge(merged, tree)


def merge(base: Node, child: Node) -> Node:
    """Return `base` with `child` laid over it: mappings merge key by key, everything else is replaced.

    A mapping whose `name` differs from the base's replaces it whole: the keys of another optimizer or
    schedule do not belong to the new one. Only `class_num`, a fact of the data, stays.
    """
    if not (isinstance(base.value, dict) and isinstance(child.value, dict)):
        return child
    kept = base.value
    names = [node.value["name"].plain() for node in (base, child) if "name" in node.value]
    if len(names) == 2 and names[0] != names[1]:
        kept = {key: node for key, node in kept.items() if key == "class_num"}
    merged = dict(kept)
    for key, node in child.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, child.where)


def apply_override(tree: Node, text: str) -> None:
    """Set one `Section.key=value` in `tree` (in place); list positions are numbers, negative ones too.

    Missing mappings are created, so that the check against the schema names an unknown key whole.
    """
    key, separator, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    origin = "-o " + " ".join(text.split())
    if len(origin) > 2 * _MAX_KEY_LENGTH:
        origin = origin[: 2 * _MAX_KEY_LENGTH] + "..."
    if not separator or not all(map(_is_plain_key, keys)) or len(keys) > _MAX_DEPTH:
        raise ConfigError(
            f"{origin}: expected Section.key=value without spaces around '='; for example -o Global.epochs=20"
        )
    node = tree
    for depth, part in enumerate(keys):
        if node.value is None:
            node.value = {}
        path = ".".join(keys[:depth])
        position: Any = part
        if isinstance(node.value, list):
            position = _list_index(node.value, part, path, origin)
        elif not isinstance(node.value, dict):
            raise ConfigError(f"{origin}: {path} is {node.plain()!r}, which has no '{part}'")
        if depth == len(keys) - 1:
            node.value[position] = parse_literal(value, origin)
        elif isinstance(node.value, dict):
            node = node.value.setdefault(part, Node({}, origin))
        else:
            node = node.value[position]


def _read_text(path: str) -> str:
    try:
        with open_plain(path) as file:
            data = file.read(_MAX_BYTES + 1) or b""
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such config file (working directory: {os.getcwd()}){_alike(path)}"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name a YAML file in it") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path!r}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES} bytes; this is not a config")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


def _alike(path: str) -> str:
    """Return "; did you mean 'FILE'?" for the config called most like `path`, beside it or with the package.

    Case, "_" and "-" do not count: PaddleClas' `micronet_m3.yaml` is `MicroNet_M3.yaml` here.
    """
    import difflib  # see `registry.nearest`

    def plain(name: str) -> str:
        return re.sub("[-_]", "", os.path.splitext(os.path.basename(name))[0].lower())

    own = glob.escape(str(configs_folder()))
    deploy = os.path.join(os.path.dirname(own), "deploy", "configs")  # in a checkout
    found: dict[str, str] = {}
    for folder in (os.path.join(own, "*"), deploy, glob.escape(os.path.dirname(path))):
        names = sorted(glob.glob(os.path.join(folder, "*.y*ml")))
        found.update((plain(name), name) for name in names)
    for name in difflib.get_close_matches(plain(path), found, n=1, cutoff=0.8):
        return f"; did you mean '{_shown(os.path.abspath(found[name]))}'?"
    return ""


def _shown(path: str) -> str:
    """Return the shortest way to name the config `path`: below the working directory, or in the package."""
    here, own = os.path.join(os.getcwd(), ""), os.path.join(configs_folder(), "")
    if path.startswith(here):
        return path[len(here) :]
    return PREFIX + path[len(own) :].replace(os.sep, "/") if path.startswith(own) else path


def _scalar_value(loader: _Loader, tag: str, text: str) -> Any:
    """Return the value of `text` with the resolved `tag`; the text where a config cannot hold that value."""
    if tag in (_TAG + "str", _TAG + "merge"):
        return text
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except ValueError:  # Python refuses to read an integer of thousands of digits
        return text


def _list_index(items: list[Node], part: str, path: str, origin: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,9}", part) and -len(items) <= int(part) < len(items):
        return int(part)
    positions = f"use a position such as {path}.0" if items else "it has no positions yet"
    raise ConfigError(f"{origin}: {path} is a list of {len(items)}, which has no '{part}'; {positions}")


def _is_plain_key(key: str) -> bool:
    return 0 < len(key) <= _MAX_KEY_LENGTH and key.isprintable()


class _Builder:
    """PyYAML's nodes to ours. Every use of an alias becomes nodes of its own, so that one can be overridden."""

    def __init__(self, origin: str, numbered: bool) -> None:
        self._origin, self._numbered = origin, numbered
        self._nodes_left = _MAX_NODES

    def where(self, line: int) -> str:
        """Name a line, counted from 0 as PyYAML does."""
        return f"{self._origin}:{line + 1}" if self._numbered else self._origin

    def build(
        self, node: yaml.Node, loader: _Loader, where: str | None = None, _open: tuple[yaml.Node, ...] = ()
    ) -> Node:
        where = where or self.where(node.start_mark.line)
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise ConfigError(f"{where}: more than {_MAX_NODES} values, counting each use of an alias")
        if any(node is parent for parent in _open):
            raise ConfigError(f"{where}: this alias contains itself; remove it")
        if len(_open) == _MAX_DEPTH:
            raise ConfigError(f"{where}: values are nested too deeply for a config")
        self._refuse_tag(node, loader, where)
        _open = (*_open, node)
        if isinstance(node, yaml.ScalarNode):
            return Node(_scalar_value(loader, node.tag, node.value), where, node.value)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.build(item, loader, None, _open) for item in node.value], where)
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, own)
            child = self.build(value_node, loader, self.where(key_node.start_mark.line), _open)
            if key_node.tag == _TAG + "merge":
                self._merge_key(child, merged)
            else:
                own[key] = child
        return Node({**merged, **own}, where)

    def _refuse_tag(self, node: yaml.Node, loader: _Loader, where: str) -> None:
        """Raise ConfigError for a tag that is written out ("!!timestamp"): PyYAML would build other types."""
        kind = {yaml.SequenceNode: "seq", yaml.MappingNode: "map", yaml.ScalarNode: "str"}[type(node)]
        implied = {_TAG + kind}
        if isinstance(node, yaml.ScalarNode):
            implied.add(loader.resolve(yaml.ScalarNode, node.value, (True, False)))
        if node.tag not in implied:
            raise ConfigError(f"{where}: a config has no tags such as {node.tag!r}; remove it")

    def _key(self, node: yaml.Node, siblings: dict[str, Node]) -> str:
        where = self.where(node.start_mark.line)
        if not isinstance(node, yaml.ScalarNode) or not _is_plain_key(node.value):
            raise ConfigError(f"{where}: a key must be a plain word, as in 'epochs: 100'")
        if node.value in siblings:
            first = siblings[node.value].where
            raise ConfigError(f"{where}: '{node.value}' is given twice (first at {first}); remove one")
        return str(node.value)

    def _merge_key(self, source: Node, merged: dict[str, Node]) -> None:
        """Take over the keys of `<<: *mapping` or `<<: [*first, *second]`; the first to name a key wins."""
        for mapping in source.value if isinstance(source.value, list) else [source]:
            if not isinstance(mapping.value, dict):
                raise ConfigError(f"{source.where}: '<<' takes over a mapping, as in '<<: *defaults'")
            for key, child in mapping.value.items():
                merged.setdefault(key, child)
