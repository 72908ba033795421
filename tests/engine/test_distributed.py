"""Two processes on CPU, started as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppcls_light.engine import checkpoint

pytestmark = pytest.mark.slow


def launch(root, log_dir, *command):
    """Run `command` in two processes; return the completed process with rank 0's log as stdout."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "paddle.distributed.launch",
            "--nproc_per_node=2",
            f"--log_dir={log_dir}",
            *command,
        ],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    logs = "".join(path.read_text(errors="replace") for path in sorted(Path(log_dir).glob("workerlog.*")))
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:] + logs[-4000:]
    return (Path(log_dir) / "workerlog.0").read_text()


def test_ranks_agree_and_every_image_is_used(root, config_file, tmp_path):
    output = tmp_path / "report.json"
    script = Path(__file__).with_name("two_ranks.py")
    launch(root, tmp_path / "log", str(script), str(config_file), str(output))
    report = json.loads(output.read_text())
    assert report["world_size"] == 2
    assert report["largest_gradient"] > 0
    assert report["gradients"] == 0
    assert report["weights"] == 0
    # 26 images, 13 a rank, 3 full batches of 4: no image twice.
    seen = [index for rank in report["seen"] for batch in rank for index in batch]
    assert len(seen) == len(set(seen)) == 24
    # 11 images do not divide by two: 6 and 5, each exactly once, and both ranks know the sum.
    assert [len(rank) for rank in report["scored"]] == [6, 5]
    assert sorted(index for rank in report["scored"] for index in rank) == list(range(11))
    assert report["results"][0] == report["results"][1]


def test_the_train_tool_runs_under_the_launcher(root, config_file, tmp_path):
    log = launch(root, tmp_path / "log", "tools/train.py", "-c", str(config_file), "-o", "Global.epochs=1")
    assert "[Eval][Epoch 1][Avg]CELoss: " in log
    assert checkpoint.load(str(tmp_path / "output/latest")).states["step"] == 3
