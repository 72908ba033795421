"""What every tool does with its output."""

import argparse
import os
import subprocess
import sys

import pytest

from ppcls_light import cli


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
def test_a_disk_that_is_full_is_one_line(root):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from ppcls_light.cli import run; run(lambda: print('row'))"],
            cwd=root,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("error: the disk of standard output or of a file is full")


def test_a_terminal_that_cannot_show_a_file_name_gets_it_escaped(root):
    done = subprocess.run(
        [sys.executable, "-c", "from ppcls_light.cli import run; run(lambda: print('\\u56fe \\udcff.jpg'))"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u56fe \\udcff.jpg\n", "")


@pytest.mark.skipif(os.name == "nt", reason="of POSIX shells")
def test_closed_streams_are_no_error_and_no_file_gets_their_numbers(root, tmp_path):
    code = f"""
import os, sys
from ppcls_light.cli import run

def main():
    with open({str(tmp_path / "file")!r}, "w") as file:
        os.write(1, b"printed by a library")
        print("a row")
        print("a warning", file=sys.stderr)
        file.write(str(file.fileno() > 2))

run(main)
"""
    command = f'"{sys.executable}" -c "$CODE" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "CODE": code, "PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_counts_are_positive(text):
    assert cli.positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="whole number >= 1"):
        cli.positive(text)


def test_an_interrupt_while_a_compiled_package_starts_is_no_traceback(root):
    code = """
from ppcls_light.cli import run


def main():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as interrupt:
        raise ImportError("initialization failed") from interrupt  # as pybind11 does


run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
