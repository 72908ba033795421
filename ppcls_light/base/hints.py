"""Commands in messages, written as they work when pasted into the shell that shows them."""

import os
import shlex
import shutil
import sys

from .missing import ROOT, shown

# {command of ppcls-light: the tool of a checkout that does the same}
TOOLS = {
    "train": "tools/train.py",
    "eval": "tools/eval.py",
    "predict": "deploy/python/predict_cls.py",
    "export": "tools/export_model.py",
    "serve": "deploy/serving/server.py",
    "explain": "tools/explain.py",
    "check": "tools/check_data.py",
    "convert": "tools/convert_weights.py",
    "bench": "tools/benchmarks/models.py",
    "lists": "tools/make_list.py",
    "infer": "tools/infer.py",
    "find-lr": "tools/find_lr.py",
    "search": "tools/search.py",
    "similar": "tools/similar.py",
    "summary": "tools/summary.py",
    "prune": "tools/prune.py",
    "fetch": "tools/fetch_weights.py",
    "curves": "tools/plot_curves.py",
    "fit-teacher": "tools/fit_teacher.py",
    "batch": "deploy/batch/classify.py",
}


def command(name: str) -> str:
    """Return the start of the command line of the command `name`.

    It is `python tools/train.py` and the like for whoever started a tool of the checkout, `ppcls-light train` for all
    others, in Python too. A program that the shell would not find, or find elsewhere, gets its path.
    """
    if name in TOOLS and _started_by_a_tool():
        tool = os.path.join(ROOT, *TOOLS[name].split("/"))
        if os.path.isfile(tool):
            return f"{_program('python', sys.executable)} {shlex.quote(os.path.relpath(tool))}"
    return installed(name)


def installed(name: str) -> str:
    """Return the start of the command line of the command `name` as `ppcls-light`, whoever started this process."""
    own = os.path.join(os.path.dirname(sys.executable), "ppcls-light")
    if os.path.isfile(own):
        return f"{_program('ppcls-light', own)} {name}"
    return f"{_program('python', sys.executable)} -m ppcls_light {name}"


def _started_by_a_tool() -> bool:
    script = os.path.realpath(sys.argv[0] if sys.argv else "")
    folders = (os.path.join(os.path.realpath(ROOT), folder, "") for folder in ("tools", "deploy"))
    return script.endswith(".py") and script.startswith(tuple(folders))


def _program(name: str, path: str) -> str:
    """Return `name` where the shell finds the program `path` by it, else the path."""
    found = shutil.which(name)
    same = found and os.path.abspath(os.path.dirname(found)) == os.path.abspath(os.path.dirname(path))
    return name if same else shlex.quote(shown(path))
