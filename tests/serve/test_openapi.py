"""Requests generated from the server's own description of itself."""

import importlib.util
import os
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")
httpx = pytest.importorskip("httpx", reason="a real HTTP client")

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def answered(server):
    """Return how many answers /predict has given."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("ppcls_requests_total"))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("schemathesis"), reason="needs schemathesis")
def test_no_request_fails_the_server_and_answers_are_as_described(server, tmp_path):
    options = ["--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    before = answered(server)
    command = "from schemathesis.cli import schemathesis; schemathesis()"
    done = subprocess.run(
        [sys.executable, "-c", command, "run", f"{server.url}/openapi.json", *options],
        cwd=tmp_path,  # it keeps what it found beside it
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert answered(server) > before + 20
