"""Data flows one way, no module needs one that needs it, and importing the package stays cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppcls_light
from tools.benchmarks.import_graph import ImportGraph, circles, part_of

PACKAGE = Path(ppcls_light.__file__).parent
ROOT = PACKAGE.parent

# A part imports from itself and from those before it, never from one after it.
ORDER = (
    *("errors", "registry", "base", "config", "data", "weights", "datasets"),
    *("ops", "models", "optim", "compress"),
    *(
        "bundle",
        "runtime",
        "prediction",
        "explanation",
        "serve",
        "export",
        "engine",
        "report",
        "check",
        "jobs",
        "photos",
        "run",
        "search",
        "doctor",
        "cli",
        "bench",
        "commands",
    ),
    "__main__",
    "inference",  # the old name of prediction
    *("tools", "deploy"),
)
RANK = {part: rank for rank, part in enumerate(ORDER)}
# The registry imports by name, at the first look-up, what fills it.
FILLED_LATER = {("registry", "data"), ("registry", "models")}

GRAPH = ImportGraph(ROOT)


def texts(module):
    """Yield (text, line) of every string in a module."""
    for node in ast.walk(GRAPH.parsed[module]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def third_party(module):
    """Return the top-level names of the packages that a module imports."""
    names = set()
    for node in ast.walk(GRAPH.parsed[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_few_modules_are_at_the_root_and_every_part_has_its_place():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        *("__init__", "__main__", "errors", "registry", "jobs", "cli")
    }
    assert {part_of(name) for name in GRAPH.paths} == set(ORDER)


def test_the_map_has_the_packages_in_their_order_and_names_places_that_are_there():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [
        part for part in ORDER if part not in ("__main__", "inference", "tools", "deploy")
    ]
    places = re.findall(r"`(ppcls_light/[\w/]+(?:\.py)?)(?::(\w+))?`", text)
    assert places
    for path, name in places:
        assert (ROOT / path).exists(), path
        if name:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert name in {getattr(node, "name", None) for node in ast.walk(tree)}, f"{path}:{name}"


def test_imports_point_one_way():
    wrong = []
    for own, path in GRAPH.paths.items():
        for module, name, _, line in GRAPH.imports(own):
            if module == "ppcls_light":  # the package's own names, which it loads from its parts
                right = part_of(own) in ("tools", "deploy") or name == "__version__"
            else:
                right = module in GRAPH.paths and RANK[part_of(module)] <= RANK[part_of(own)]
            if not right:
                wrong.append(f"{path}:{line}: {part_of(own)} imports {module}")
    assert not wrong


def test_the_package_imports_itself_relatively():
    absolute = [
        f"{module}:{node.lineno}"
        for module, tree in GRAPH.parsed.items()
        if module.startswith("ppcls_light.")
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and not node.level and node.module.startswith("ppcls_light"))
        or (isinstance(node, ast.Import) and node.names[0].name.startswith("ppcls_light"))
    ]
    assert not absolute


def test_modules_that_are_named_in_texts_point_one_way():
    """Those that run in a process of their own, `python -m ppcls_light...`, and those that are imported by name."""
    wrong = []
    for name, path in GRAPH.paths.items():
        own = part_of(name)
        for text, line in texts(name):
            for part in re.findall(r"(?:^|-m )ppcls_light\.(\w+)", text):
                if (own, part) not in FILLED_LATER and RANK.get(part, len(RANK)) > RANK[own]:
                    wrong.append(f"{path}:{line}: {own} names {part}")
            for module in re.findall(r"-m (ppcls_light(?:\.\w+)*)", text):
                if module not in (*GRAPH.paths, "ppcls_light"):
                    wrong.append(f"{path}:{line}: there is no {module}")
    assert not wrong


def test_names_with_an_underscore_stay_in_their_module():
    wrong = []
    for own, path in GRAPH.paths.items():
        modules = set()
        for module, name, local, line in GRAPH.imports(own):
            if name is None:
                modules.add(local)
            if any(map(is_private, [*module.split("."), name or ""])):
                wrong.append(f"{path}:{line}: {module}.{name}")
        for node in ast.walk(GRAPH.parsed[own]):
            inside = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if inside and node.value.id in modules and is_private(node.attr):
                wrong.append(f"{path}:{node.lineno}: {node.value.id}.{node.attr}")
    assert not wrong


def test_no_module_needs_one_that_needs_it():
    assert not circles(GRAPH.needed())


@pytest.mark.parametrize(
    "part", ["base", "config", "data", "report", "errors.py", "registry.py", "engine/history.py"]
)
def test_these_parts_do_without_paddle(part):
    modules = [name for name, path in GRAPH.paths.items() if path.is_relative_to(PACKAGE / part)]
    assert modules
    for module in modules:
        assert "paddle" not in third_party(module), module


@pytest.mark.parametrize("part", ["bundle", "runtime", "prediction", "serve"])
def test_what_runs_a_bundle_uses_paddle_for_inference_only(part):
    for module, tree in GRAPH.parsed.items():
        for node in ast.walk(tree) if module.startswith(f"ppcls_light.{part}") else ():
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paddle."):
                assert node.module.startswith("paddle.inference"), f"{module}:{node.lineno}"


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


def test_processes_are_started_in_one_place():
    """`base.processes` and `base.pool` know what a process of Python needs, `ops.build` runs a compiler, and one
    target its converter, which is a program."""
    names = {"Popen", "ProcessPoolExecutor", "get_context"}
    calls = {*names, "run", "call", "check_call", "check_output", "Process", "Pool"}
    found = {
        module
        for module, tree in GRAPH.parsed.items()
        if module.startswith("ppcls_light")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in calls and is_library_of_processes(node.value))
    }
    programs = {"ppcls_light.ops.build", "ppcls_light.export.targets.ncnn"}
    assert found == {"ppcls_light.base.pool", "ppcls_light.base.processes", *programs}


def is_library_of_processes(node):
    return isinstance(node, ast.Name) and node.id in ("subprocess", "multiprocessing")
