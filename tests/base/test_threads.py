"""The user's OMP_NUM_THREADS, before and after Paddle's import has written into the environment."""

import os
import subprocess
import sys

import pytest

from ppcls_light.base.threads import openmp_threads

CODE = """
import os, sys
from ppcls_light.base.threads import openmp_threads
before = openmp_threads()
os.environ["OMP_NUM_THREADS"] = sys.argv[1]  # as Paddle's import does
print(before, openmp_threads())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="a 1 of Paddle's is not told apart here")
@pytest.mark.parametrize(
    ("set_by_user", "paddles", "expected"),
    [
        (None, "1", "None None"),
        ("", "1", "None None"),
        ("many", "1", "None None"),
        ("0", "0", "None None"),
        ("1", "1", "1 1"),
        ("3", "3", "3 3"),
        ("4,2", "1", "4 4"),
        ("9" * 30, "9" * 30, "32768 32768"),
    ],
)
def test_a_number_counts_if_the_user_has_set_it(root, set_by_user, paddles, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if set_by_user is not None:
        environment["OMP_NUM_THREADS"] = set_by_user
    command = [sys.executable, "-c", CODE, paddles]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_a_number_that_this_process_has_set_counts(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert openmp_threads() == 7
