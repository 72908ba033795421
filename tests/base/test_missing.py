"""Tools outside of their environment: one line that names the package and the fix, exit code 2, wherever they are."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(
    path
    for pattern in ("tools/*.py", "tools/benchmarks/*.py", "tools/tutorials/*.py", "deploy/*/*.py")
    for path in ROOT.glob(pattern)
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
ARGUMENTS = {"torch_side": ["train", "net", "1"], "learn_torch": ["versions"]}


def bare(*arguments, cwd):
    """Run the Python of this environment outside of it, without any package."""
    command = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={}, capture_output=True, text=True, check=False)


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TOOLS, ids=named)
def test_a_tool_without_packages_says_so_in_one_line(path, tmp_path):
    done = bare(path, *ARGUMENTS.get(path.stem, []), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package ")
    assert " is not installed for " in line
    assert "pip install" in line or "/.venv/bin/python " in line


@pytest.mark.parametrize("path", TOOLS, ids=named)
def test_an_old_python_is_told_so(path, tmp_path):
    """It has to read as far as the check: these files have no syntax that is newer than f-strings."""
    on_the_way = [
        *(
            ROOT / "ppcls_light" / name
            for name in (
                "__init__.py",
                "cli.py",
                "base/__init__.py",
                "base/lazy.py",
                "base/missing.py",
                "base/mkl.py",
                "base/quiet.py",
                "base/run_folder.py",
                "commands/__init__.py",
                "commands/dispatch.py",
            )
        ),
        *(
            ROOT / "tools" / name
            for name in ("__init__.py", "benchmarks/__init__.py", "tutorials/__init__.py")
        ),
    ]
    for file in (path, *on_the_way):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 6))
    old = (
        f"import runpy, sys; sys.version_info = (3, 8, 1); runpy.run_path({str(path)!r}, run_name='__main__')"
    )
    done = bare("-c", old, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert " is Python 3.8, which is older than 3.9; " in line


@pytest.fixture
def checkout(tmp_path):
    """A checkout in which nothing is but the way to the first package that is missing."""
    folder = tmp_path / "check out"
    for name in (
        "setup.py",
        "tools/train.py",
        *(
            f"ppcls_light/{name}.py"
            for name in (
                *(
                    "__init__",
                    "__main__",
                    "cli",
                    "errors",
                    "registry",
                    "commands/__init__",
                    "commands/dispatch",
                ),
                *(
                    "base/__init__",
                    "base/hints",
                    "base/lazy",
                    "base/missing",
                    "base/mkl",
                    "base/quiet",
                    "base/run_folder",
                ),
            )
        ),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_fix_is_a_command_that_fits(checkout):
    said = bare("tools/train.py", cwd=checkout).stderr
    assert '(python3 -m venv .venv && .venv/bin/python -m pip install -e ".[cpu]")' in said
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").touch()
    said = bare("tools/train.py", cwd=checkout).stderr
    assert said.endswith(
        "; run it with the environment of the checkout: .venv/bin/python tools/train.py ...\n"
    )
    said = bare("train.py", cwd=checkout / "tools").stderr
    assert said.endswith(": ../.venv/bin/python train.py ...\n")
    (checkout / "setup.py").unlink()
    said = bare("tools/train.py", cwd=checkout).stderr
    assert said.endswith(' -m pip install "ppcls_light[cpu]"\n')


@pytest.mark.parametrize("arguments", [["train"], ["predict", "inference", "a.jpg"]])
def test_the_command_without_packages_says_so_in_one_line_and_helps_all_the_same(arguments, tmp_path):
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'ppcls-light'\n"
    start += "from ppcls_light.commands import main; main()"
    done = bare("-c", start, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package numpy is not installed for ")
    assert "pip install" in line or "/.venv/bin/python " in line
    for flag in ("--help", "--version"):
        done = bare("-c", start, flag, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "ppcls" in done.stdout


def run_hidden(name):
    """Have a tool import `name`, which is not there, while it is at work."""
    code = (
        f"import sys; sys.modules[{name!r}] = None; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from ppcls_light import cli; cli.run(lambda: __import__({name!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_package_that_a_tool_needs_later():
    done = run_hidden("paddle")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package paddle is not installed for ")


def test_what_is_no_package_of_the_project_is_a_bug_and_stays_a_traceback():
    done = run_hidden("ppcls_light.typo")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
