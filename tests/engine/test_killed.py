"""A run killed without warning, twice, at a step that nobody chose, ends as one that was left alone."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ppcls_light.engine import checkpoint

pytestmark = pytest.mark.slow

OVERRIDES = [
    "Global.epochs=3",
    "Global.update_freq=2",
    "Global.save_steps=1",
    "Global.print_batch_step=1",
    "EMA={decay: 0.7}",
    "AMP={level: O1, scale_loss: 128.0, use_dynamic_loss_scaling: True}",
    "DataLoader.Train.loader.num_workers=2",
]


def start(root, config_file, output_dir, *overrides):
    options = [part for override in (*OVERRIDES, *overrides) for part in ("-o", override)]
    command = [sys.executable, "tools/train.py", "-c", str(config_file), *options]
    users = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    return subprocess.Popen(
        [*command, "-o", f"Global.output_dir={output_dir}"],
        cwd=root,
        env={**users, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_after(process, batches):
    """Kill `process` once its log shows `batches` train lines; return how many lines it wrote in all."""
    lines, seen = [], 0
    for line in process.stdout:
        lines.append(line)
        seen += bool(re.search(r"\[Train\].*\[Iter: ", line))
        if seen == batches:
            time.sleep(random.random() * 0.05)  # inside a step or a save
            process.kill()
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, "".join(lines)


def test_sigkill_at_a_random_step(root, config_file, tmp_path):
    seed = time.time_ns()
    random.seed(seed)
    kills = [random.randint(1, 8), random.randint(1, 5)]
    print(f"seed {seed}: killed after {kills} batches")
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    for count in kills:
        kill_after(start(root, config_file, parts, "Global.checkpoints=auto"), count)
    resumed = start(root, config_file, parts, "Global.checkpoints=auto")
    # In a process of its own: what other tests have loaded into this one may round otherwise.
    undisturbed = start(root, config_file, whole)
    for process in (resumed, undisturbed):
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
    assert output.count("Paddle has no mixed precision on CPU") == 1
    one, other = checkpoint.load(whole / "latest"), checkpoint.load(parts / "latest")
    for kind in ("weights", "raw", "optimizer"):
        expected, actual = getattr(one, kind), getattr(other, kind)
        assert expected.keys() == actual.keys()
        for key in expected:
            np.testing.assert_array_equal(actual[key], expected[key], err_msg=f"seed {seed}: {kind} {key}")
    for name in ("epoch", "position", "step", "best", "scaler"):
        assert one.states[name] == other.states[name], f"seed {seed}: {name}"
    assert one.states["step"] == 9
