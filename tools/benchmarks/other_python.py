"""Scripts that a benchmark runs in another process or by another interpreter."""

import subprocess
from collections.abc import Sequence

from ppcls_light.errors import UserError


def run_python(command: Sequence[str], failure: str) -> str:
    """Return what a script of another interpreter prints, on both streams; `command` begins with the interpreter.

    Raises UserError: there is no such interpreter, or the script fails: `failure`, and the last line that it printed.
    """
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise UserError(f"--python {command[0]}: {error.strerror}; name an interpreter with torch") from None
    if done.returncode:
        lines = done.stdout.strip().splitlines() or ["no message"]
        raise UserError(f"{command[0]} {failure}: {lines[-1]}")
    return done.stdout
