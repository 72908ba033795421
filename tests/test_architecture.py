"""Data flows one way, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppcls_light

PACKAGE = Path(ppcls_light.__file__).parent

# A module imports from its own layer and from those before it, never from one after it.
LAYERS = [
    (
        *("errors", "registry", "cores", "files", "figures", "missing"),
        *("tables", "plain_pickle", "processor", "workers"),
    ),
    ("config",),
    ("data",),
    ("weights",),
    ("ops",),
    ("models",),
    ("losses", "metrics", "results", "history", "report", "curves", "optim", "compress", "accuracy"),
    ("engine",),
    ("export",),
    ("inference",),
    ("tasks", "cli", "benchmark", "comparison"),
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def imported_parts(path):
    """Yield (part of this package, line) for every import in a module, inside functions too."""
    depth = len(path.relative_to(PACKAGE).parts)
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level < depth:
                yield own, node.lineno
            elif node.module:
                yield node.module.split(".")[0], node.lineno
            else:
                yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
            for name in names:
                assert not name.startswith("ppcls_light"), f"{path}:{node.lineno}: import relatively"


def third_party(path):
    """Return the top-level names of the packages that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for part, line in imported_parts(path):
        if part in RANK:  # __version__ is no part
            assert RANK[part] <= RANK[own], f"{path}:{line} imports {part}, which comes after {own}"


@pytest.mark.parametrize(
    "part",
    ["config", "data", "errors.py", "registry.py", "results.py", "report.py", "history.py", "curves.py"],
)
def test_these_parts_do_without_paddle(part):
    paths = PACKAGE.joinpath(part).rglob("*.py") if (PACKAGE / part).is_dir() else [PACKAGE / part]
    for path in paths:
        assert "paddle" not in third_party(path), path


def test_inference_uses_paddle_for_inference_only():
    for path in (PACKAGE / "inference").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paddle."):
                assert node.module.startswith("paddle.inference"), f"{path}:{node.lineno}"


def test_importing_the_package_imports_neither_paddle_nor_opencv():
    code = "import sys, ppcls_light, ppcls_light.config; print(sorted({'paddle', 'cv2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_there():
    for name in ppcls_light.__all__:
        assert getattr(ppcls_light, name) is not None
    with pytest.raises(AttributeError):
        _ = ppcls_light.no_such_name
