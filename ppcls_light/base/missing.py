"""Error message and exit code 2 for a tool whose Python is too old or whose packages are not installed.

A tool imports `cli` before anything that is not in Python itself, and `cli` imports this first. It must run on a Python
that the project is too new for, and without any package.
"""

import importlib.util
import os
import sys
from types import TracebackType
from typing import Iterable, Optional, Type

OLDEST = (3, 9)
EXIT_CODE = 2
NEEDED = ("numpy", "yaml")  # by every command that does something

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_VENV = os.path.join(ROOT, ".venv")
_PYTHON = os.path.join(_VENV, "bin", "python")
# Modules that a tool may miss, by the extra of setup.py to install; and those of another interpreter, packages.
_EXTRAS = {
    **dict.fromkeys(("cv2", "numpy", "paddle", "PIL", "safetensors", "shtab", "yaml"), "cpu"),
    "matplotlib": "cpu,plot",
    **dict.fromkeys(("scipy", "skimage"), "cpu,explain"),
    "sklearn": "cpu,teacher",
    **dict.fromkeys(("jupytext", "nbclient", "nbformat"), "cpu,notebooks"),
    "playwright": "cpu,dev",
}
_OTHERS = ("onnx", "timm", "torch")


def line(error: ImportError) -> Optional[str]:
    """Return the message for a ModuleNotFoundError, None for a module that is no package to install."""
    name = error.name
    if name in _OTHERS:
        fix = "{} -m pip install {}".format(sys.executable, " ".join(sorted(_OTHERS)))
    elif name in _EXTRAS:
        fix = _fix(_EXTRAS[name])
    else:
        return None
    return f"the package {name} is not installed for {sys.executable}; {fix}"


def require(names: Iterable[str]) -> None:
    """Raise ModuleNotFoundError for the first of `names` that is not installed; none is imported."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def leave(error: ModuleNotFoundError, prefix: str = "error: ") -> None:
    """End the process with the `line` of a ModuleNotFoundError, or raise it."""
    text = line(error)
    if text is None:
        raise error
    sys.stderr.write(prefix + text + "\n")
    sys.exit(EXIT_CODE)


def _fix(extra: str) -> str:
    """Return the fix for a missing package: the environment that exists, or the command that makes one."""
    if not os.path.exists(os.path.join(ROOT, "setup.py")):
        return f'{sys.executable} -m pip install "ppcls_light[{extra}]"'
    if _other_environment() is None and (sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ):
        return f"{sys.executable} {_install(extra)}"
    return _with_environment("python3", extra)


def _with_environment(python: str, extra: str = "cpu") -> str:
    """Return the command for the tool in .venv of the checkout, made by `python` where there is none yet."""
    there = _other_environment()
    if there is not None:
        return f"run it with the environment of the checkout: {shown(there)} {_script()} ..."
    own = shown(_PYTHON)
    make = f"{python} -m venv {shown(_VENV)} && {own} {_install(extra)}"
    return f"make an environment ({make}) and run it with {own}"


def _script() -> str:
    is_package = os.path.basename(sys.argv[0]) == "__main__.py"
    return "-m ppcls_light" if is_package else sys.argv[0]


def _other_environment() -> Optional[str]:
    """Return the Python of .venv of the checkout, None where that does not exist or is this one."""
    same = os.path.realpath(sys.prefix) == os.path.realpath(_VENV)
    return None if same or not os.path.exists(_PYTHON) else _PYTHON


def _install(extra: str) -> str:
    return f'-m pip install -e "{shown(ROOT)}[{extra}]"'


def shown(path: str) -> str:
    """Return the shorter of `path` and its path relative to the working directory."""
    return min(path, os.path.relpath(path), key=len)


def _exit_at_import(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    text = line(error) if isinstance(error, ImportError) else None
    if text is None:
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stdout.flush()
    sys.stderr.write("error: " + text + "\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)  # any other end of a hook is exit code 1


if sys.version_info < OLDEST:
    found, needed = (".".join(map(str, version)) for version in (sys.version_info[:2], OLDEST))
    problem = f"error: {sys.executable} is Python {found}, which is older than {needed}"
    sys.stderr.write(f"{problem}; {_with_environment(f'python{needed}')}\n")
    sys.exit(EXIT_CODE)
sys.excepthook = _exit_at_import
