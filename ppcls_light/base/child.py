"""Modules of this package run in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

from ..errors import ExportError


def run_module(module, *arguments, task, environment=None):
    """Run `python -m module arguments...` and wait for it.

    Args:
        task: what it is there for; completes the message "Paddle Inference cannot run the exported model".
        environment: variables to set in addition.

    Raises:
        ExportError: it failed; the message ends with the last line that it wrote to stderr.
    """
    root = str(Path(__file__).parents[2])  # so that a checkout works without being installed
    search_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **(environment or {}), "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ExportError(f"{task} (exit {done.returncode}): {lines[-1]}")
