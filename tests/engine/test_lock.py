import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from ppcls_light.base import files
from ppcls_light.engine import lock
from ppcls_light.engine.lock import sole_run
from ppcls_light.errors import ConfigError

HOLD = """
import os, sys
from ppcls_light.base import files
from ppcls_light.engine import lock
folder, machine, locks, beat = sys.argv[1:]
lock.BEAT = float(beat)
if machine:
    lock._machine = lambda: machine
if locks == "none":
    files.fcntl = None
with lock.sole_run(folder):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(root, tmp_path):
    """Start a process that holds a folder: on which machine, and with which locks."""
    started = []

    def start(machine="", locks="flock", beat=0.1):
        command = [sys.executable, "-c", HOLD, str(tmp_path), machine, locks, str(beat)]
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that refuses locks, as some network disks do."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if files.fcntl is not None:
        monkeypatch.setattr(files.fcntl, "flock", refuse)


def test_a_second_run_is_refused_until_the_first_is_gone_even_if_killed(holder, tmp_path):
    pytest.importorskip("fcntl", reason="there are no such locks on this system")
    first = holder()
    with pytest.raises(
        ConfigError, match=rf"another run \(process {first.pid} on .*Global\.output_dir=FOLDER"
    ):
        sole_run(tmp_path).__enter__()
    first.kill()
    first.wait()
    with sole_run(tmp_path):  # at once: the lock says that no process of this machine has it
        pass


def test_one_after_another(tmp_path):
    for _ in range(2):
        with sole_run(tmp_path / "new"):
            pass
    assert (tmp_path / "new" / lock.NAME).read_bytes() == b""


def test_without_locks_a_run_is_seen_by_its_sign_of_life(holder, tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.2)
    first = holder(machine="elsewhere", locks="none")
    with pytest.raises(ConfigError, match="another run"):
        sole_run(tmp_path).__enter__()
    first.send_signal(signal.SIGKILL)
    first.wait()
    with sole_run(tmp_path):
        assert str(os.getpid()) in (tmp_path / lock.NAME).read_text()


def test_locks_that_other_machines_do_not_see(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.2)
    first = holder(
        machine="elsewhere", locks="none"
    )  # it has no lock here, as on a disk that keeps locks local
    with pytest.raises(ConfigError, match=f"process {first.pid} on"):
        sole_run(tmp_path).__enter__()


def test_of_two_that_start_at_once_without_locks_one_goes_on(tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.2)
    changes = lock._changes

    def other_writes(path, text, seconds):
        with open(path, "w") as file:
            file.write("0123456789abcdef 0000000000 elsewhere 7 host\n")
        return changes(path, text, seconds)

    monkeypatch.setattr(lock, "_changes", other_writes)
    with pytest.raises(ConfigError, match=r"another run \(process 7 on host\)"):
        sole_run(tmp_path).__enter__()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be suspended on this system")
def test_a_suspended_run_that_was_taken_for_dead_writes_nothing_more(holder, tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.2)
    first = holder(machine="elsewhere", locks="none")
    first.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    with sole_run(tmp_path):
        line = (tmp_path / lock.NAME).read_text()
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=60) == 2
        assert b"took the folder over" in first.stderr.read()
        assert (tmp_path / lock.NAME).read_text().split()[0] == line.split()[0]
