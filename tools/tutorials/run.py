"""Execute tutorials: docs/tutorials/NAME.py, cells between `# %%` lines, becomes NAME.ipynb with its output.

    python tools/tutorials/run.py fasternet_cifar10
    python tools/tutorials/run.py fasternet_cifar10 --small --out /tmp/notebooks

The Python file is what is edited and reviewed; the notebook beside it is written by this command alone. With `--small`
the tutorial computes for seconds, as in the tests, which set PPCLS_LIGHT_TUTORIAL=small.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.files import write_text
from ppcls_light.errors import ConfigError, UserError

# isort: split
import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs/tutorials"
SMALL = {"PPCLS_LIGHT_TUTORIAL": "small"}
# Paddle warns people who build no extension, and of its own internals.
QUIET = {"PYTHONWARNINGS": "ignore:No ccache found", "GLOG_minloglevel": "2"}
SECONDS = 3600  # of one cell
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LOG_LINE = re.compile(r"^\[[\d/]+ [\d:]+\] ppcls \w+: .*\n?", re.MULTILINE)
ABSOLUTE = re.compile(r"(?<![\w./:-])/(?:home|root|tmp|work|usr|opt|Users|mnt|var)/[\w./-]*")


def from_source(path):
    """Return the notebook, without outputs, of a Python file with cells between `# %%` lines."""
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = {"kernelspec": KERNEL}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return notebook


def execute(notebook, folder, small=False):
    """Execute `notebook` in `folder`, in order, in a kernel of this Python that imports the checkout.

    Raises UserError: a cell fails; the message has its error.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(paths), **(SMALL if small else {})}
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        startup_timeout=SECONDS,
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as problem:
        raise UserError(
            f"a cell fails: {problem.ename}: {problem.evalue}", *str(problem).splitlines()
        ) from None
    for cell in notebook.cells:
        cell.metadata = {}  # of the times at which cells ran
        if cell.cell_type == "code":
            cell.outputs = [kept for kept in map(without_log, cell.outputs) if not is_passing(kept)]
    notebook.metadata = {"kernelspec": KERNEL}
    return notebook


def without_log(output):
    """Return an output without the lines of the log, which have the times and folders of one run."""
    if output.output_type == "stream":
        output.text = LOG_LINE.sub("", output.text)
    return output


def is_passing(output):
    """Return whether an output is empty, or the progress of a training."""
    shown = output.get("text", output.get("data", {}).get("text/plain"))
    return shown == "" or bool(re.search(r"\[#+-*\] \d+/\d+ ", shown or ""))


def texts(notebook):
    """Yield the texts that a reader sees in the outputs of `notebook`."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            yield from (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", ""))


def require_clean(notebook):
    """Raise UserError for output that only this machine has: absolute paths, warnings, redrawn progress bars."""
    for text in texts(notebook):
        found = ABSOLUTE.search(text) or re.search(r"\w*Warning\b.*", text) or re.search(r".*\r", text)
        if found:
            raise UserError(f"this is in the output and should not be: {found[0]!r}; change the cell")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="tutorial: a file of docs/tutorials, without .py"
    )
    parser.add_argument("--small", action="store_true", help="compute for seconds, on few images")
    parser.add_argument(
        "--out", type=Path, default=TUTORIALS, help="folder for NAME.ipynb (default docs/tutorials)"
    )
    args = parser.parse_args()
    known = sorted(path.stem for path in TUTORIALS.glob("*.py"))
    for name in args.names:
        if name not in known:
            raise ConfigError(f"{name} is no tutorial; there are {', '.join(known)}")
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(from_source(TUTORIALS / f"{name}.py"), folder, args.small)
        require_clean(notebook)
        path = args.out / f"{name}.ipynb"
        write_text(path, nbformat.writes(notebook) + "\n")
        print(f"{path}: {len(notebook.cells)} cells, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    cli.run(main)
