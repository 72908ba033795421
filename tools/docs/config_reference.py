"""Write the tables of docs/config.md and search.md from the schema: python tools/docs/config_reference.py [--check]

A key has its type and default from the annotation, its meaning from the comment beside or above it, or
from the "Args" of a docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import re
import sys
import textwrap
import tokenize
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.config import (
    arch,
    dataloader,
    global_section,
    infer,
    losses,
    metrics,
    optim,
    postprocess,
    schema,
)
from ppcls_light.config.bind import describe, signature
from ppcls_light.config.types import Range
from ppcls_light.errors import UserError
from ppcls_light.registry import BATCH_TRANSFORMS, TRANSFORMS
from ppcls_light.search import settings as search
from tools.docs import marked

ROOT = Path(__file__).resolve().parents[2]
MODULES = (schema, global_section, arch, dataloader, losses, metrics, optim, infer, postprocess, search)
PAGES = ("docs/config.md", "docs/search.md")
COLUMNS = ("key", "type", "default", "meaning")
NOT_THE_USERS = ("params", "features_only")
REGISTRIES = {"transform_ops": TRANSFORMS, "batch_transform_ops": BATCH_TRANSFORMS}


def parts(name: str) -> str:
    """Return the part of the page called `name`: a dataclass of the schema, a network's class or a registry's ops."""
    if name in REGISTRIES:
        registry = REGISTRIES[name]
        return "\n\n".join(f"#### {op}\n\n{of_callable(registry.get(op))}" for op in sorted(registry.names()))
    for module in MODULES:
        if hasattr(module, name):
            return of_dataclass(getattr(module, name))
    return of_callable(network(name))


def network(name: str) -> type:
    """Return the class called `name` in the module of its family. Raises UserError: there is none."""
    from ppcls_light import models

    for module in (models.edgenext, models.fasternet, models.micronet, models.pplcnet, models.resnet_vd):
        if hasattr(module, name):
            return getattr(module, name)
    raise UserError(f"docs/config.md: {name} is neither a class of the schema nor a network")


def of_dataclass(cls: type) -> str:
    """Return the docstring and the table of the keys of a section."""
    meanings = comments(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = [
        row(field.name, hints[field.name], default_of(field), meanings.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if not (field.name == "name" and field.default == cls.__name__) and field.name not in NOT_THE_USERS
    ]
    written = cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")  # which dataclasses make up
    return joined(inspect.cleandoc(cls.__doc__) if written else "", rows)


def of_callable(entry: Any) -> str:
    """Return the docstring and the table of the parameters of an operation or a network."""
    text, meanings = split_arguments(inspect.cleandoc(entry.__doc__ or ""))
    if dataclasses.is_dataclass(entry):
        meanings = {**comments(entry), **meanings}
    defaults, hints, _ = signature(entry)
    rows = [
        row(name, hints.get(name), default, meanings.get(name, ""))
        for name, default in defaults.items()
        if name not in NOT_THE_USERS
    ]
    return joined(text, rows)


def joined(text: str, rows: list[tuple[str, ...]]) -> str:
    return "\n\n".join(
        part for part in (text, markdown_table(COLUMNS, rows).rstrip() if rows else "") if part
    )


def row(name: str, annotation: Any, default: Any, meaning: str) -> tuple[str, ...]:
    kind = "" if annotation is None else describe(annotation)
    cells = f"`{name}`", kind, default_text(annotation, default), meaning.rstrip(".")
    return tuple(cell.replace("|", "\\|") for cell in cells)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field, or `inspect.Parameter.empty`."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def default_text(annotation: Any, default: Any) -> str:
    """Return a default as YAML has it; "" for sections and for numbers that only other keys can give."""
    if default is inspect.Parameter.empty:
        return "required"
    bounds = [mark for mark in typing.get_args(annotation)[1:] if isinstance(mark, Range)]
    if any(default not in bound for bound in bounds):
        return ""
    try:
        return f"`{json.dumps(default)}`" if not isinstance(default, str) else f"`{default or repr('')}`"
    except TypeError:  # a section, which has its own table
        return ""


def comments(cls: type) -> Mapping[str, str]:
    """Return {field: the comment beside it, or the one above it}, of a dataclass and those that it extends."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        source = textwrap.dedent(inspect.getsource(base))
        beside, alone = comments_by_line(source)
        (definition,) = ast.parse(source).body
        assert isinstance(definition, ast.ClassDef)
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                line, above = node.lineno - 1, []
                while line in alone:
                    above.insert(0, alone[line])
                    line -= 1
                inside = [beside[line] for line in range(node.lineno, node.end_lineno + 1) if line in beside]
                found[node.target.id] = " ".join(above + inside)
    return found


def comments_by_line(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return {line: text} of the comments beside code, and of those on lines of their own."""
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            kind = alone if token.line.lstrip().startswith("#") else beside
            kind[token.start[0]] = token.string.lstrip("# ")
    return beside, alone


def split_arguments(docstring: str) -> tuple[str, dict[str, str]]:
    """Return a docstring up to its sections, and {argument: text} of the section "Args"."""
    sections = re.split(r"^(Args|Attributes|Raises|Returns)\b.*?:", docstring, flags=re.MULTILINE)
    arguments = dict(zip(sections[1::2], sections[2::2])).get("Args", "")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\w)", textwrap.dedent(arguments).strip()):
        names, _, text = " ".join(entry.split()).partition(": ")
        found.update({name.strip(): text for name in names.split(",") if text})
    return sections[0].strip(), found


def main() -> None:
    marked.main(__doc__, [ROOT / page for page in PAGES], parts, "python tools/docs/config_reference.py")


if __name__ == "__main__":
    cli.run(main)
