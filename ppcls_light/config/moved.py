"""Paths in the config of a run: after its files, or its whole folder, have moved."""

from __future__ import annotations

import os
from typing import Any, Iterable, Mapping

from ..base.files import StrPath, write_text
from ..errors import ConfigError
from .tree import Node, dump_yaml, read_tree

_RESULTS = ("output_dir", "save_inference_dir")
# The keys whose texts are paths of a run, of weights, and of lists that a run may have with it.
_OF_RUNS = frozenset(
    (
        *("output_dir", "checkpoints", "pretrained_model", "pretrained", "pretrained_list"),
        *("cls_label_path", "sample_list_path", "class_id_map_file"),
    )
)


def relocated(value: Any, moved: Mapping[str, str], key: str | None = None) -> Any:
    """Return `value`, the value of `key`, with the new paths of `moved` files under each key of `_OF_RUNS`."""
    if isinstance(value, dict):
        return {name: relocated(child, moved, name) for name, child in value.items()}
    if isinstance(value, list):
        return [relocated(child, moved, key) for child in value]
    is_path = key in _OF_RUNS and isinstance(value, str)
    return moved.get(os.path.abspath(value), value) if is_path else value


def relocate_config(path: StrPath, moved: Mapping[str, str]) -> None:
    """Write the YAML file `path` anew with the new paths of files that have `moved`, as in `dump_config`.

    Raises ConfigError: it cannot be read or written.
    """
    write_text(path, dump_yaml(relocated(read_tree(path).plain(), moved)), ConfigError)


def relocate_run(path: StrPath) -> None:
    """Write the YAML file `path` of a run anew where its folder was moved or copied; see `settled`.

    Raises ConfigError: it cannot be read or written.
    """
    before, now = read_tree(path).plain(), settled(os.path.abspath(path)).plain()
    if now != before:
        write_text(path, dump_yaml(now), ConfigError)


def settled(path: StrPath) -> Node:
    """Return the tree of the YAML file `path` of a run, with paths in its folder, also if that was moved or copied.

    `Global.output_dir` is the folder of the file, and what lay in the old one lies there: where results go in any
    case, what is read unless it is still in the old place alone.

    Raises ConfigError: it cannot be read.
    """
    tree, folder = read_tree(path), os.path.dirname(os.fspath(path)) or os.curdir
    settings = tree.value.get("Global")
    home = settings.value.get("output_dir") if settings and isinstance(settings.value, dict) else None
    if home is None:
        return tree
    before = home.value if isinstance(home.value, str) else home.text  # a folder may be called 5
    if not before or "\0" in before:
        return tree
    old = os.path.abspath(before)
    if os.path.realpath(old) == os.path.realpath(folder):
        return tree
    home.value = before
    for key, node in _paths(tree):
        path = os.path.join(os.path.abspath(node.value), "")
        if not path.startswith(os.path.join(old, "")):
            continue
        now = os.path.normpath(os.path.join(folder, os.path.relpath(path, old)))
        if key in _RESULTS or os.path.exists(now) or not os.path.exists(node.value):
            node.value = node.text = now
    return tree


def _paths(node: Node, key: str = "") -> Iterable[tuple[str, Node]]:
    """Yield (key, node) of the texts in `node`, the value of `key`, that are paths of a run."""
    if isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from _paths(child, name)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _paths(child, key)
    elif isinstance(node.value, str) and (
        key in _RESULTS or (key in _OF_RUNS and os.path.dirname(node.value))
    ):
        yield key, node
