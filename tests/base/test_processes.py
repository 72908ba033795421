"""Child processes: their messages, their path, and their end with that of their caller."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ppcls_light
from ppcls_light.base.processes import Child, ProcessEndedError

ROOT = Path(ppcls_light.__file__).parents[1]
ECHO = """
    import os, sys, time
    from ppcls_light.base.processes import Caller

    caller = Caller()
    print("a library's words")
    while True:
        message, blocks = caller.receive()
        if message == "sleep":
            time.sleep(600)
        if message == "exit":
            sys.exit("tired")
        caller.send([message, os.getpid()], *reversed(blocks))
"""


@pytest.fixture
def module(tmp_path):
    """module(code) -> environment in which `python -m toy` is that code."""

    def write(code):
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "toy.py").write_text(textwrap.dedent(code))
        return {"PYTHONPATH": str(tmp_path / "modules")}

    return write


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_messages_go_to_and_fro_with_their_bytes(module):
    child = Child("toy", module(ECHO), subprocess.DEVNULL)
    try:
        for blocks in ([], [b""], [b"\n[1, []]\n", bytes(range(256)) * 9999]):
            child.send({"ä": [1.5, None]}, *blocks)
            (message, pid), answered = child.receive(60)
            assert (message, pid) == ({"ä": [1.5, None]}, child.pid)
            assert answered == blocks[::-1]
        assert child.runs
    finally:
        child.close()
    assert not child.runs


def test_a_child_that_ends_or_takes_too_long_says_so(module):
    environment = module(ECHO)
    child = Child("toy", environment, subprocess.DEVNULL)
    child.send("exit")
    with pytest.raises(ProcessEndedError, match=r"^exit code 1$") as raised:
        child.receive()
    assert raised.value.code == 1
    with pytest.raises(ProcessEndedError):
        child.send("hello")
    child.close()
    child = Child("toy", environment, subprocess.DEVNULL)
    child.send("sleep")
    with pytest.raises(ProcessEndedError, match=r"^no answer within 0\.5 s$"):
        child.receive(0.5)
    assert not child.runs
    child.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_children_and_workers_end_with_their_caller(module, number, tmp_path):
    environment = module(ECHO)
    (tmp_path / "caller.py").write_text(
        textwrap.dedent(
            """
            import os, time
            from ppcls_light.base.call import call_in_process
            from ppcls_light.base.processes import Child
            from ppcls_light.base.pool import Pool

            def nothing():
                pass

            if __name__ == "__main__":
                child, pool = Child("toy"), Pool(1, nothing)
                child.send("sleep")
                worker = pool.submit(os.getpid).result()
                pool.submit(time.sleep, 600)
                print(child.pid, worker, flush=True)
                call_in_process(time.sleep, 600, task="waits for ever")
            """
        )
    )
    path = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "caller.py")],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as caller:
        pids = list(map(int, caller.stdout.readline().split()))
        assert len(pids) == 2
        listed = Path(f"/proc/{caller.pid}/task/{caller.pid}/children")
        deadline = time.monotonic() + 30
        while listed.exists() and len(listed.read_text().split()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)  # the tracker of `multiprocessing` is the fourth
        pids += map(int, listed.read_text().split() if listed.exists() else [])
        caller.send_signal(number)
    deadline = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


POOL = """
    from ppcls_light.base.call import call_in_process
    from ppcls_light.base.pool import Pool

    def start():
        import json

    if __name__ == "__main__":
        call_in_process(len, "four", task="the call fails")
        {pool}
        print("works")
"""


@pytest.mark.parametrize(
    "pool",
    [
        "",
        pytest.param(
            "print(Pool(2, start).submit(len, 'four').result())",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11's safe path"),
        ),
    ],
    ids=["module", "pool"],
)
def test_modules_of_the_working_folder_are_not_run(module, tmp_path, pool):
    environment = module("import socket, threading, json")
    for name in ("socket", "threading", "json", "pickle", "runpy", "ppcls_light"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__file__} was run')")
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "caller.py"
    script.write_text(textwrap.dedent(POOL.format(pool=pool)))
    path = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["works"], done.stderr
    assert "was run" not in done.stderr


SCRIPT = """
    from ppcls_light.base.pool import Pool

    print("begins", flush=True)

    def start():
        pass

    def own(text):
        return len(text) + 1
"""
GUARDED = """
    if __name__ == "__main__":
        print(Pool(1, start).submit(own, "four").result())
"""
UNGUARDED = """
    print(Pool(1, print, "worker").submit(len, "four").result(), __file__)
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [(GUARDED, ["begins", "begins", "5"]), (UNGUARDED, ["begins", "worker", "4", "caller.py"])],
    ids=["guarded", "unguarded"],
)
def test_a_script_is_run_again_in_workers_only_where_it_is_guarded(tmp_path, end, said):
    script = tmp_path / "caller.py"
    script.write_text(textwrap.dedent(SCRIPT + end))
    command = [sys.executable, "caller.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert [os.path.basename(word) for word in done.stdout.split()] == said, done.stderr


def test_a_script_from_a_pipe_starts_workers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-"],
        input=textwrap.dedent(SCRIPT + UNGUARDED.replace(", __file__", "")),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["begins", "worker", "4"], done.stderr
