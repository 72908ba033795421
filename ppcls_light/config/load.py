"""YAML files and `-o` overrides to a checked config, and back to YAML."""

import dataclasses
import os

from ..base.files import write_text
from ..errors import ConfigError
from . import schema
from .bind import bind
from .tree import apply_override, dump_yaml, read_tree
from .types import Op


def load_config(path, overrides=()):
    """Read a training config.

    Args:
        path: YAML file, PaddleClas' own or one of this project.
        overrides: `Section.key=value` texts, applied in order after the file and its bases.

    Returns:
        schema.Config; `config.where("Global.epochs")` says where a value was written.

    Raises:
        ConfigError: one line with file:line, the dotted path, what was expected and an example.
    """
    return load_yaml_as(schema.Config, path, overrides)


def load_yaml_as(cls, path, overrides=()):
    """Like `load_config`, for any dataclass `cls` of sections; the result has a `where` method too."""
    tree = read_tree(path)
    for override in overrides:
        apply_override(tree, override)
    if cls is schema.Config:
        _move_class_num(tree)
    config = bind(cls, tree)
    config.where = _Locator(tree)
    return config


def dump_config(config, moved=None):
    """Return the fully resolved config as YAML; loading it again gives the same config.

    `moved`: {absolute path: path it has now} of files that have been moved since the config was read.
    """
    return dump_yaml(_relocated(_plain(config), moved or {}))


def relocate_config(path, moved):
    """Write the YAML file `path` anew with the new paths of what has `moved`, as in `dump_config`.

    Raises:
        ConfigError: it cannot be read or written.
    """
    write_text(path, dump_yaml(_relocated(read_tree(path).plain(), moved)), ConfigError)


class _Locator:
    """Answers where a dotted path was written, or else the nearest thing above it that was."""

    def __init__(self, tree):
        self._tree = tree

    def __call__(self, path):
        node = self._tree
        for key in path.split("."):
            children = node.value
            if isinstance(children, dict) and key in children:
                node = children[key]
            elif isinstance(children, list) and key.isdigit() and int(key) < len(children):
                node = children[int(key)]
            else:
                break
        return node.where


def _move_class_num(tree):
    """Read `Global.class_num`, PaddleClas' older spelling of `Arch.class_num`."""
    sections = [tree.value.get(name) for name in ("Global", "Arch")]
    if not all(section is not None and isinstance(section.value, dict) for section in sections):
        return
    old, new = (section.value.get("class_num") for section in sections)
    if old is None:
        return
    if new is not None and new.value != old.value:
        raise ConfigError(
            f"{old.where}: Global.class_num {old.plain()} is not Arch.class_num {new.plain()} ({new.where}); "
            "keep Arch.class_num"
        )
    sections[1].value["class_num"] = sections[0].value.pop("class_num")


# The keys whose texts are paths of a run and of weights.
_OF_RUNS = frozenset(("output_dir", "checkpoints", "pretrained_model", "pretrained", "pretrained_list"))


def _relocated(value, moved, key=None):
    """Return `value`, the value of `key`, with the new path of what has `moved` under each key of `_OF_RUNS`."""
    if isinstance(value, dict):
        return {name: _relocated(child, moved, name) for name, child in value.items()}
    if isinstance(value, list):
        return [_relocated(child, moved, key) for child in value]
    is_path = key in _OF_RUNS and isinstance(value, str)
    return moved.get(os.path.abspath(value), value) if is_path else value


def _plain(value):
    if isinstance(value, Op):
        return {value.name: _plain(value.params) or None}
    if dataclasses.is_dataclass(value):
        names = sorted((f.name for f in dataclasses.fields(value)), key=lambda name: name != "name")
        plain = {name: _plain(getattr(value, name)) for name in names}
        if isinstance(value, schema.ArchConfig):
            plain.update(plain.pop("params"))
        return plain
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [
            {type(item).__name__: _plain(item)} if dataclasses.is_dataclass(item) else _plain(item)
            for item in value
        ]
    return value
