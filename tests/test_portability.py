"""What Windows and macOS lack is not needed to import the package; it was not run on either."""

import subprocess
import sys

import pytest

CODE = """
import builtins, importlib, os, pkgutil, signal, sys
import ppcls_light

HIDDEN = {"fcntl", "resource", "termios", "pwd", "grp"}
LACKING = {
    os: ("fork", "register_at_fork", "sched_getaffinity", "memfd_create", "geteuid", "O_NONBLOCK", "mkfifo", "killpg"),
    signal: ("SIGKILL", "SIGHUP", "SIGALRM", "SIGPROF", "ITIMER_REAL", "setitimer", "pthread_sigmask"),
}
names = [module.name for module in pkgutil.walk_packages(ppcls_light.__path__, "ppcls_light.")]
names = [name for name in names if not name.endswith("__main__")]
there = []
for name in names:  # once as this system is, so that the libraries of others are loaded
    try:
        importlib.import_module(name)
        there.append(name)
    except ImportError as missing:
        assert not (missing.name or "").startswith("ppcls_light"), missing
assert len(there) > 100
for name in [name for name in sys.modules if name.split(".")[0] == "ppcls_light"]:
    del sys.modules[name]

original = builtins.__import__

def without(name, globals=None, *others):
    if name in HIDDEN and (globals or {}).get("__name__", "").startswith("ppcls_light"):
        raise ImportError(name)
    return original(name, globals, *others)

builtins.__import__ = without
for module, attributes in LACKING.items():
    for attribute in attributes:
        if hasattr(module, attribute):
            delattr(module, attribute)
failed = []
for name in there:
    try:
        importlib.import_module(name)
    except Exception as problem:
        failed.append(f"{name}: {problem!r}")
print(failed)
sys.stdout.flush()
os._exit(0)  # the libraries' own ends need what is gone
"""


@pytest.mark.slow
def test_every_module_imports_without_what_only_linux_has(root):
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
