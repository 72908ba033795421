import importlib.util
import subprocess

import pytest

from ppcls_light.errors import UserError
from tools.benchmarks import house
from tools.benchmarks.import_graph import ImportGraph, circles

needs_ruff = pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff counts branches")

FILES = {
    "ppcls_light/__init__.py": "from .up import later\n",
    "ppcls_light/errors.py": "",
    "ppcls_light/low/__init__.py": "",
    "ppcls_light/low/a.py": "from . import b\nfrom .b import name as other\nimport os\n",
    "ppcls_light/low/b.py": "def late():\n    from .a import x\n\n    return x\n",
    "ppcls_light/up/__init__.py": "from ..low import a\nfrom .. import errors\n",
    "ppcls_light/up/kernel.cc": "one\ntwo\n",
    "tools/run.py": (
        "from ppcls_light import Config\nimport ppcls_light.up as there\nfrom ppcls_light.low.b import late\n"
    ),
    "tests/test_run.py": "import ppcls_light.up\n" * 100,
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_read_wherever_they_stand(checkout):
    graph = ImportGraph(checkout)
    assert list(graph.imports("tools.run")) == [
        ("ppcls_light", "Config", "Config", 1),
        ("ppcls_light.up", None, "there", 2),
        ("ppcls_light.low.b", "late", "late", 3),
    ]
    assert graph.needed()["ppcls_light.low.a"] == {"ppcls_light.low.b"}
    assert graph.needed_parts() == {
        "low": set(),
        "up": {"low", "errors"},
        "tools": {"up", "low"},
        "errors": set(),
    }


def test_circles_are_found_at_any_length_and_apart():
    needed = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}, "g": set()}
    assert circles(needed) == [["a", "b", "c"], ["d", "e"]]


@needs_ruff
def test_the_figures_of_a_checkout(checkout):
    branches = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(10))
    (checkout / "tools/many.py").write_text(f"def many(x):\n{branches}    return None\n")
    assert house.figures(checkout) == {
        "packages": 2,
        "root modules": 2,
        "edges between packages": 4,
        "upward edges": 0,
        "import circles": 1,
        "modules": 7,
        "Python lines": 1 + 3 + 4 + 2 + 3 + 22,
        "C++ lines": 2,
        "functions of complexity > 10": 1,
    }
    (checkout / "ppcls_light/errors.py").write_text("from .up import a\nfrom .low import b\n")
    found = house.figures(checkout)
    assert (found["edges between packages"], found["upward edges"]) == (6, 2)


@needs_ruff
def test_revisions_stand_beside_the_working_tree(root, run_tool, capsys):
    if subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("this is no git checkout")
    run_tool("benchmarks/house", "--rev", "HEAD")
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == "| figure | HEAD | working tree |"
    listed = subprocess.run(
        ["git", "-C", root, "ls-tree", "-r", "--name-only", "HEAD", "ppcls_light", "tools", "deploy"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    modules = [name for name in listed if name.endswith(".py") and name != "ppcls_light/__init__.py"]
    assert f"| modules | {len(modules)} |" in "\n".join(rows)
    with pytest.raises(UserError, match=r"--rev nowhere: .*nowhere"):
        house.unpack("nowhere", root)
