"""What every tool does with its output."""

import os
import subprocess
import sys


def test_a_terminal_that_cannot_show_a_file_name_gets_it_escaped(root):
    done = subprocess.run(
        [sys.executable, "-c", "from ppcls_light.cli import run; run(lambda: print('\\u56fe \\udcff.jpg'))"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u56fe \\udcff.jpg\n", "")
