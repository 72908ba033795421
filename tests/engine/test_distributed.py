"""Several processes on CPU, on one node and on two, started as a user starts them, and killed."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppcls_light.engine import checkpoint
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights
from tests.conftest import write_config, write_photos

pytestmark = pytest.mark.slow


def launcher(log_dir, *options):
    return [sys.executable, "-m", "paddle.distributed.launch", f"--log_dir={log_dir}", *options]


def start(root, command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def output_of(process):
    """Wait for the end of `process` and return what it printed; one that hangs is ended with all of its own."""
    try:
        return process.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        process.terminate()
        raise


def finish(process, code=0):
    """Return what `process` printed; it must end with exit code `code`."""
    output = output_of(process)
    assert process.returncode == code, output[-6000:]
    return output


def launch(root, log_dir, *command, options=("--nproc_per_node=2",), **environment):
    return finish(start(root, [*launcher(log_dir, *options), *command], **environment))


def train(config_file, output_dir, *overrides):
    """Return the train command."""
    options = [part for override in overrides for part in ("-o", override)]
    return ["tools/train.py", "-c", config_file, *options, "-o", f"Global.output_dir={output_dir}"]


def final(output_dir):
    """Return the arrays of the last checkpoint, of weights and optimizer."""
    found = checkpoint.load(os.path.join(output_dir, "latest"))
    return {**found.weights, **{f"optimizer {key}": value for key, value in found.optimizer.items()}}


def assert_same(output_dir, reference):
    arrays = final(output_dir)
    assert arrays.keys() == reference.keys()
    assert not [key for key, array in arrays.items() if not np.array_equal(array, reference[key])]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """(config file, overrides, output folder, what was printed) of two ranks that trained 8 epochs of 3 steps."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config_file, first = write_config(folder, write_photos(folder)), folder / "first.pdparams"
    arch = yaml.safe_load(config_file.read_text())["Arch"]
    write_weights(first, create_model(**arch).state_dict())
    overrides = ["Global.epochs=8", "Global.head_epochs=2", f"Global.pretrained_model={first}"]
    printed = launch(root, folder / "log", *train(config_file, folder / "output", *overrides))
    return config_file, overrides, folder / "output", printed


def test_two_nodes_train_and_evaluate_as_one(root, undisturbed, tmp_path):
    config_file, settings, one, output = undisturbed
    assert "global batch 8 (batch_size 4 x world_size 2 x update_freq 1), learning rate 0.05" in output
    assert output.count("Optimizer.lr.base_batch_size is not given") == 1
    scores = re.findall(r"\[Eval\]\[Epoch \d\]\[Avg\]CELoss: .*", output)
    assert len(scores) == 8

    nodes, port = [], free_port()
    for rank in (0, 1):
        options = [*("--master", f"127.0.0.1:{port}", "--nnodes", "2", "--rank", rank, "--nproc_per_node=1")]
        script = train(config_file, tmp_path / "two", *settings)
        nodes.append(start(root, [*launcher(tmp_path / f"log{rank}", *options), *script]))
    output, _ = map(finish, nodes)
    assert re.findall(r"\[Eval\]\[Epoch \d\]\[Avg\]CELoss: .*", output) == scores
    assert_same(tmp_path / "two", final(one))


def test_an_error_of_one_rank_ends_the_job_and_is_named(root, config_file, photos, tmp_path):
    lines = [f"train/{index:02d}.png 0\n" for index in range(26)]
    (photos / "train_list.txt").write_text("".join(lines))
    (photos / "train/03.png").write_bytes(b"no image")  # without shuffling rank 1's
    overrides = ["DataLoader.Train.sampler.shuffle=false", "DataLoader.Train.loader.max_bad=0.0"]
    script = train(config_file, tmp_path / "output", *overrides)
    process = start(root, [*launcher(tmp_path / "log", "--nproc_per_node=2"), *script])
    output = output_of(process)
    assert process.returncode != 0
    assert re.search(r"^Container rank 1 status failed .* code 2 ", output, re.M), output[-6000:]
    assert re.search(r"^error: rank 1: .*train/03\.png", output, re.M), output[-6000:]
    # Rank 0 is ended while it waits, and its log still ends with its own line.
    assert "Traceback" not in (tmp_path / "log/workerlog.0").read_text()


def test_two_ranks_refuse_an_older_run_alike(root, undisturbed, tmp_path):
    config_file, _, older, _ = undisturbed
    output, one_epoch = shutil.copytree(older, tmp_path / "output"), ["Global.epochs=1"]
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    process = start(
        root, [*launcher(tmp_path / "log1", "--nproc_per_node=2"), *train(config_file, output, *one_epoch)]
    )
    refused = output_of(process)
    assert process.returncode != 0
    assert re.search(r"^error: rank 0: Global\.output_dir: .* holds a run", refused, re.M), refused[-6000:]
    assert "rank 1: Global.output_dir" in (tmp_path / "log1/workerlog.1").read_text()
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def rank_processes(root_pid):
    """Return {rank: pid} of the processes of a launch under `root_pid`."""
    found, pids = {}, [root_pid]
    while pids:
        pid = pids.pop()
        folder = Path(f"/proc/{pid}")
        pids += map(int, (folder / f"task/{pid}/children").read_text().split())
        values = dict(item.partition("=")[::2] for item in (folder / "environ").read_text().split("\0"))
        if "PADDLE_TRAINER_ID" in values:
            found.setdefault(int(values["PADDLE_TRAINER_ID"]), pid)
    return found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds a rank's process in /proc")
def test_a_killed_rank_and_a_stopped_supervisor_cost_a_job_nothing(root, undisturbed, tmp_path):
    config_file, overrides, alone, _ = undisturbed
    seed = time.time_ns()
    random.seed(seed)
    steps, victim = random.randint(2, 9), random.randint(0, 1)
    print(f"seed {seed}: rank {victim} killed after {steps} steps")
    often = ["Global.print_batch_step=1", "Global.save_steps=1", "Global.checkpoints=auto"]
    command = [*launcher(tmp_path / "log2", "--nproc_per_node=2")]
    command += train(config_file, tmp_path / "killed", *overrides, *often)
    supervised = start(root, ["bash", "tools/supervise.sh", "3", "0", *command])
    log = tmp_path / "log2/workerlog.0"

    def wait_for(lines):
        while not log.exists() or log.read_text().count("[Train][Epoch ") < lines:
            assert supervised.poll() is None, supervised.communicate()[0]
            time.sleep(0.02)

    wait_for(steps)
    os.kill(rank_processes(supervised.pid)[victim], signal.SIGKILL)
    wait_for(steps + 6)
    supervised.send_signal(signal.SIGTERM)
    output = finish(supervised, code=signal.SIGTERM)
    assert re.search(rf"^Container rank {victim} status failed .* code -9 ", output, re.M), output[-6000:]
    survivor = (tmp_path / f"log2/workerlog.{1 - victim}").read_text()
    assert f"error: rank {1 - victim}: another process has ended" in survivor
    assert re.search(r"^supervise: exit code (247|241), try 1 of 3: again in 0 s$", output, re.M)
    # In the process' own log: the launcher, which shows it once a second, may have been stopped before.
    assert "Finish load checkpoints from" in log.read_text()
    assert re.search(r"stopped at step \d+; the same command", log.read_text())
    # The other rank was asked, too, or lost this one on its way out.
    assert re.search("interrupted|another process has ended", (tmp_path / "log2/workerlog.1").read_text())
    finish(start(root, command))
    assert_same(tmp_path / "killed", final(alone))


def test_the_supervisor_stops_where_another_try_cannot_help(root, tmp_path):
    def supervise(script):
        (tmp_path / "tries").write_text("")
        command = ["bash", "-c", f"echo >> {tmp_path}/tries; {script}"]
        process = start(root, ["bash", "tools/supervise.sh", "2", "0", *command])
        process.communicate(timeout=60)
        return process.returncode, (tmp_path / "tries").read_text().count("\n")

    assert supervise("exit 0") == (0, 1)
    assert supervise("exit 2") == (2, 1)
    assert supervise("exit 15") == (15, 1)
    assert supervise("exit 130") == (130, 1)
    assert supervise("exit 241") == (241, 2)
    misused = start(root, ["bash", "tools/supervise.sh", "many", "0", "true"])
    assert finish(misused, code=2).startswith("usage: ")
