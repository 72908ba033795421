"""Table of the house: packages, imports between them, lines and complexity, of several revisions side by side.

    python tools/benchmarks/house.py --rev 83b8a20 main
    python tools/benchmarks/house.py --mypy

The last column is the working tree. Counted are ppcls_light, tools and deploy, without tests. An edge goes from one
package (or module beside the packages) to another that it imports, once. An edge on a circle of packages points upward
in every order of them. `--mypy` counts errors by the settings of this checkout's pyproject.toml, for all revisions,
those in packages that these settings leave out included.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.errors import UserError
from tools.benchmarks.import_graph import FOLDERS, ImportGraph, circles

ROOT = Path(__file__).resolve().parents[2]
COMPLEXITY = 10


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rev", nargs="+", default=[], help="git revisions beside the working tree")
    parser.add_argument("--mypy", action="store_true", help="count mypy's errors, too: seconds each")
    return parser.parse_args()


def unpack(revision: str, folder: Path) -> None:
    """Write the files of a git revision to `folder`. Raises UserError."""
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", revision]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"--rev {revision}: {_last_line(done.stderr.decode(errors='replace'))}")
    zipfile.ZipFile(io.BytesIO(done.stdout)).extractall(folder)


def figures(root: Path) -> Dict[str, int]:
    """Return the figures of the checkout `root`, by name."""
    graph = ImportGraph(root)
    package = root / FOLDERS[0]
    needed, parts = graph.needed(), graph.needed_parts()
    upward = [len(parts[part] & set(circle)) for circle in circles(parts) for part in circle]
    return {
        "packages": len(list(package.glob("*/__init__.py"))),
        "root modules": len(list(package.glob("*.py"))),
        "edges between packages": sum(map(len, parts.values())),
        "upward edges": sum(upward),
        "import circles": len(circles(needed)),
        "modules": len(needed),
        "Python lines": lines(root, "*.py"),
        "C++ lines": lines(root, "*.cc", "*.h"),
        f"functions of complexity > {COMPLEXITY}": complex_functions(root),
    }


def lines(root: Path, *patterns: str) -> int:
    """Return the number of lines in the files of the product."""
    found = [path for folder in FOLDERS for pattern in patterns for path in (root / folder).rglob(pattern)]
    return sum(len(path.read_bytes().splitlines()) for path in found)


def complex_functions(root: Path) -> int:
    """Return the number of functions with more than `COMPLEXITY` ways through them, as ruff counts (C901)."""
    settings = ["--isolated", "--select=C901", f"--config=lint.mccabe.max-complexity={COMPLEXITY}"]
    said = _output(["ruff", "check", "--exit-zero", "--output-format=concise", *settings, *FOLDERS], root)
    return len(re.findall(r": C901 ", said))


def type_errors(root: Path) -> int:
    """Return the number of mypy's errors by the settings of `ROOT`, but without its exceptions."""
    settings = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "pyproject.toml")
        config.write_text(settings.replace("ignore_errors = true", ""), encoding="utf-8")
        options = ["--config-file", str(config), "--cache-dir", os.devnull]
        return len(re.findall(r": error: ", _output(["mypy", *options], root, codes=(0, 1))))


def _output(command: List[str], folder: Path, codes: tuple = (0,)) -> str:
    """Return what a Python module prints in `folder`. Raises UserError where it ends with none of the exit `codes`."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes or "No module named" in done.stderr:
        raise UserError(f'{command[0]}: {_last_line(done.stderr)}; pip install -e ".[dev]" brings it')
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def main() -> None:
    arguments = parse_arguments()
    columns = {}
    with tempfile.TemporaryDirectory() as scratch:
        trees = {revision: Path(scratch, str(index)) for index, revision in enumerate(arguments.rev)}
        for revision, folder in trees.items():
            unpack(revision, folder)
        for name, root in {**trees, "working tree": ROOT}.items():
            columns[name] = figures(root)
            if arguments.mypy:
                columns[name]["mypy errors"] = type_errors(root)
    rows = [(name, *(column[name] for column in columns.values())) for name in columns["working tree"]]
    print(markdown_table(("figure", *columns), rows), end="")


if __name__ == "__main__":
    cli.run(main)
