import subprocess
import sys

import pytest

from ppcls_light.engine.lock import sole_run
from ppcls_light.errors import ConfigError

HOLD = """
import sys
from ppcls_light.engine.lock import sole_run
with sole_run(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_gone_even_if_killed(root, tmp_path):
    pytest.importorskip("fcntl", reason="there are no such locks on this system")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=r"another run is writing to .*Global\.output_dir=FOLDER"):
            sole_run(tmp_path).__enter__()
    finally:
        holder.kill()
        holder.communicate()
    with sole_run(tmp_path):
        pass


def test_one_after_another(tmp_path):
    for _ in range(2):
        with sole_run(tmp_path / "new"):
            pass
