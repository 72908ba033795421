"""Import graph of a checkout, read from its source without running it; for house.py and tests/test_architecture.py."""

import ast
import functools
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Union

FOLDERS = ("ppcls_light", "tools", "deploy")


class Import(NamedTuple):
    """An import of this project's; `name` is None where the module itself is imported."""

    module: str
    name: Optional[str]
    local: str
    line: int


class ImportGraph:
    """The modules below `FOLDERS` of a checkout, without the package's `__init__`, which loads its names lazily.

    `paths` is {module: its file}, `parsed` {module: its syntax tree}.
    """

    def __init__(self, root: Union[str, Path]) -> None:
        files = [path for folder in FOLDERS for path in sorted(Path(root, folder).rglob("*.py"))]
        names = [_module_name(path.relative_to(root)) for path in files]
        self.paths = {name: path for name, path in zip(names, files) if name != "ppcls_light"}

    @functools.cached_property
    def parsed(self) -> Dict[str, ast.Module]:
        return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.paths.items()}

    def imports(self, module: str) -> Iterator[Import]:
        """Yield every import of this project's in a module, inside functions too."""
        folder = module.split(".") if self.paths[module].stem == "__init__" else module.split(".")[:-1]
        for node in ast.walk(self.parsed[module]):
            if isinstance(node, ast.Import):
                found = [
                    Import(alias.name, None, alias.asname or alias.name, node.lineno) for alias in node.names
                ]
            elif isinstance(node, ast.ImportFrom):
                base = folder[: len(folder) - node.level + 1] if node.level else []
                source = ".".join([*base, *filter(None, [node.module])])
                found = [self._imported(source, alias, node.lineno) for alias in node.names]
            else:
                continue
            yield from (one for one in found if one.module.split(".")[0] in FOLDERS)

    def _imported(self, source: str, alias: ast.alias, line: int) -> Import:
        local, inner = alias.asname or alias.name, f"{source}.{alias.name}"
        return (
            Import(inner, None, local, line)
            if inner in self.paths
            else Import(source, alias.name, local, line)
        )

    def needed(self) -> Dict[str, Set[str]]:
        """Return {module: the others that it imports}."""
        return {
            name: {one.module for one in self.imports(name)} & set(self.paths) - {name} for name in self.paths
        }

    def needed_parts(self) -> Dict[str, Set[str]]:
        """Return {part: the other parts that it imports}."""
        parts: Dict[str, Set[str]] = {part_of(name): set() for name in self.paths}
        for name, modules in self.needed().items():
            parts[part_of(name)] |= {part_of(module) for module in modules} - {part_of(name)}
        return parts


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """Return the part that a module belongs to: a package or module of the package's root, or another folder."""
    return module.split(".")[1 if module.startswith("ppcls_light.") else 0]


def circles(needed: Dict[str, Set[str]]) -> List[List[str]]:
    """Return the groups of names that need one another."""
    reached = {name: _reached(needed, name) for name in needed}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in needed}
    return sorted(sorted(group) for group in groups if group)


def _reached(needed: Dict[str, Set[str]], start: str) -> Set[str]:
    found: Set[str] = set()
    left = [start]
    while left:
        new = needed[left.pop()] - found
        found |= new
        left += new
    return found
