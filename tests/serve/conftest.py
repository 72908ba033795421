import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_light.export import export_model

SCRIPT = Path(__file__).parents[2] / "deploy" / "serving" / "server.py"
NAMES = ["red", "green", "blue", "<b>grey</b>", "cyan", "pink"]
OPS = [("ResizeImage", {"resize_short": 36}), ("CropImage", {"size": 32}), ("NormalizeImage", {"order": ""})]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """An exported folder whose six classes are colours; topk 3."""
    linear = paddle.nn.Linear(3, 6)
    towards = [[3, -1, -1], [-1, 3, -1], [-1, -1, 3], [0, 0, 0], [-1, 1.5, 1.5], [1.5, 0, 1]]
    linear.weight.set_value(np.array(towards, "float32").T)
    network = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), linear)
    folder = tmp_path_factory.mktemp("served") / "inference"
    export_model(network, folder, (3, 32, 32), OPS, NAMES, "Paint", topk=3)
    return folder


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """photo(channel, suffix, size) -> the path of a picture in which that channel is bright."""
    folder = tmp_path_factory.mktemp("paint")

    def paint(channel, suffix=".jpg", size=(60, 50)):
        path = folder / f"{channel}_{size[0]}x{size[1]}{suffix}"
        if not path.exists():
            pixels = np.random.default_rng(channel).integers(0, 90, (size[1], size[0], 3), dtype="uint8")
            pixels[:, :, channel] += 150
            Image.fromarray(pixels).save(path)
        return path

    return paint


class Server:
    """A server process; `url` is where it listens."""

    def __init__(self, process):
        self.process = process
        self.url = process.stdout.readline().strip().rstrip("/")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """Wait for its end; return (exit code, what it logged)."""
        log = self.process.communicate(timeout=30)[1]
        return self.process.returncode, log

    def children(self):
        """Return the ids of its worker processes (Linux)."""
        command = ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(self.process.pid)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [int(line.split()[0]) for line in lines if "ppcls_light.serve.worker" in line]


def start(*arguments, script=SCRIPT, path=None, token=None, open_files=None):
    """Start `script`, with `path` as PYTHONPATH, a bearer token, and a limit of files to open."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(script), "--port", "0", "--workers", "1", *map(str, arguments)],
        env={
            **environment,
            **({"PYTHONPATH": str(path)} if path else {}),
            **({"PPCLS_SERVING_TOKEN": token} if token else {}),
        },
        preexec_fn=open_files
        and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running(model, *arguments, **settings):
    """A `Server` that is ready; `settings` as of `start`."""
    import httpx

    process = start("--model", model, *arguments, **settings)
    try:
        server = Server(process)
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail(process.stderr.read())
            if httpx.get(f"{server.url}/ready").status_code == 200:
                break
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def launch():
    """launch(*arguments) -> a server process that is just starting; launch.running waits until it is ready."""
    start.running = running
    return start


@pytest.fixture(scope="session")
def server(model):
    limits = ["--max-bytes", 300_000, "--max-pixels", 400_000, "--max-images", 4, "--max-batch", 4]
    with running(model, *limits, "--max-delay", 30) as one:
        yield one


@pytest.fixture
def client(server):
    import httpx

    with httpx.Client(base_url=server.url, timeout=20) as one:
        yield one
