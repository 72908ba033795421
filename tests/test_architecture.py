"""Data flows one way, no module needs one that needs it, and importing the package stays cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppcls_light

PACKAGE = Path(ppcls_light.__file__).parent
ROOT = PACKAGE.parent

# A part imports from itself and from those before it, never from one after it.
ORDER = (
    *("errors", "registry", "base", "config", "data", "weights", "ops", "models", "optim", "compress"),
    *("bundle", "runtime", "predict", "serve", "export", "engine", "report", "jobs", "cli"),
    "inference",  # the old name of predict
    *("tools", "deploy"),
)
RANK = {part: rank for rank, part in enumerate(ORDER)}
# The registry imports by name, at the first look-up, what fills it.
FILLED_LATER = {("registry", "data"), ("registry", "models")}
# The process that decodes runs what starts it.
CIRCLES = {frozenset({"ppcls_light.data.decode", "ppcls_light.data.guards.decoder_process"})}

FILES = [
    path
    for folder in ("ppcls_light", "tools", "deploy")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != PACKAGE / "__init__.py"
]


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}
PARSED = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def part_of(module):
    """Return the part of `ORDER` that a module belongs to, None for the package itself."""
    first, *rest = module.split(".")
    return first if first in ("tools", "deploy") else rest[0] if rest else None


def imports(path):
    """Yield (module, name, local name, line) for every import of this project's, inside functions too.

    `name` is None where the module itself is imported.
    """
    folder = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.Import):
            found = [(alias.name, None, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found = [(module, alias.name, alias.asname or alias.name) for alias in node.names]
        else:
            continue
        for module, name, local in found:
            if module.split(".")[0] in ("ppcls_light", "tools", "deploy"):
                inner = f"{module}.{name}"
                yield (
                    (inner, None, local, node.lineno)
                    if inner in MODULES
                    else (module, name, local, node.lineno)
                )


def texts(path):
    """Yield (text, line) of every string in a module."""
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def third_party(path):
    """Return the top-level names of the packages that a module imports."""
    names = set()
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_few_modules_are_at_the_root_and_every_part_has_its_place():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "errors", "registry", "jobs", "cli"}
    assert {part_of(name) for name in MODULES} == set(ORDER)


def test_imports_point_one_way():
    wrong = []
    for path in FILES:
        own = part_of(name_of(path))
        for module, name, _, line in imports(path):
            part = part_of(module)
            if part is None:  # the package's own names, which it loads from its parts
                right = own in ("tools", "deploy") or name == "__version__"
            else:
                right = module in MODULES and RANK[part] <= RANK[own]
            if not right:
                wrong.append(f"{path}:{line}: {own} imports {module}")
    assert not wrong


def test_the_package_imports_itself_relatively():
    absolute = [
        f"{path}:{node.lineno}"
        for path in FILES
        if path.is_relative_to(PACKAGE)
        for node in ast.walk(PARSED[path])
        if (isinstance(node, ast.ImportFrom) and not node.level and node.module.startswith("ppcls_light"))
        or (isinstance(node, ast.Import) and node.names[0].name.startswith("ppcls_light"))
    ]
    assert not absolute


def test_modules_that_are_named_in_texts_point_one_way():
    """Those that run in a process of their own, `python -m ppcls_light...`, and those that are imported by name."""
    wrong = []
    for path in FILES:
        own = part_of(name_of(path))
        for text, line in texts(path):
            for part in re.findall(r"(?:^|-m )ppcls_light\.(\w+)", text):
                if (own, part) not in FILLED_LATER and RANK.get(part, len(RANK)) > RANK[own]:
                    wrong.append(f"{path}:{line}: {own} names {part}")
            for module in re.findall(r"-m (ppcls_light(?:\.\w+)*)", text):
                if module not in MODULES:
                    wrong.append(f"{path}:{line}: there is no {module}")
    assert not wrong


def test_names_with_an_underscore_stay_in_their_module():
    wrong = []
    for path in FILES:
        modules = set()
        for module, name, local, line in imports(path):
            if name is None:
                modules.add(local)
            if any(map(is_private, [*module.split("."), name or ""])):
                wrong.append(f"{path}:{line}: {module}.{name}")
        for node in ast.walk(PARSED[path]):
            inside = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if inside and node.value.id in modules and is_private(node.attr):
                wrong.append(f"{path}:{node.lineno}: {node.value.id}.{node.attr}")
    assert not wrong


def test_no_module_needs_one_that_needs_it():
    needed = {name: {module for module, *_ in imports(path)} & set(MODULES) for name, path in MODULES.items()}
    done, under_way = set(), []

    def visit(name):
        if name in under_way:
            circle = under_way[under_way.index(name) :]
            assert frozenset(circle) in CIRCLES, " -> ".join([*circle, name])
        elif name not in done:
            under_way.append(name)
            for other in sorted(needed[name]):
                visit(other)
            done.add(under_way.pop())

    for name in MODULES:
        visit(name)


@pytest.mark.parametrize(
    "part", ["base", "config", "data", "report", "errors.py", "registry.py", "engine/history.py"]
)
def test_these_parts_do_without_paddle(part):
    paths = [path for path in FILES if path.is_relative_to(PACKAGE / part)]
    assert paths
    for path in paths:
        assert "paddle" not in third_party(path), path


@pytest.mark.parametrize("part", ["bundle", "runtime", "predict", "serve"])
def test_what_runs_a_bundle_uses_paddle_for_inference_only(part):
    for path in (PACKAGE / part).rglob("*.py"):
        for node in ast.walk(PARSED[path]):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paddle."):
                assert node.module.startswith("paddle.inference"), f"{path}:{node.lineno}"


def test_files_beside_the_modules_are_in_the_wheel():
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (said,) = [
        node for node in ast.walk(setup) if isinstance(node, ast.keyword) and node.arg == "package_data"
    ]
    shipped = {
        path
        for package, patterns in ast.literal_eval(said.value).items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    assert shipped == {
        path for path in PACKAGE.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }


def test_importing_the_package_imports_neither_paddle_nor_opencv():
    code = "import sys, ppcls_light, ppcls_light.config; print(sorted({'paddle', 'cv2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there():
    for name in ppcls_light.__all__:
        assert getattr(ppcls_light, name) is not None
    with pytest.raises(AttributeError):
        _ = ppcls_light.no_such_name
