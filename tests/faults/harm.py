"""Trainings and exports that are killed, or whose disk or clock fails: python tests/faults/harm.py RUN

kill: trainings killed at moments of chance. calls: at system calls of chance. disk: disks that are full, read-only or
broken from one moment on, or slow. exports: exports killed at system calls. clock: the time of day jumps at every
look. Exits with 1 when something was lost or hangs. All but `kill` need Linux, and strace (calls, disk, exports),
unshare (disk) or a C compiler (clock).
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soak
from subject import COLOURS, SIZE, export, photos, run, train

_SAVING = ("Global.epochs=6", "Global.save_steps=1", "EMA={decay: 0.7}")
_HANGS = 300  # seconds that no training of these takes
_CALLS = ("write", "fsync", "rename", "unlink", "ftruncate")
_BROKEN = {"fsync": "EIO", "rename": "EROFS"}
_SLOW = "fsync,rename,unlink,ftruncate"
_JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) { return (random() % 3 - 1) * (random() % 100000); }
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec, now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec value;
    clock_gettime(CLOCK_REALTIME, &value);
    return now ? (*now = value.tv_sec) : value.tv_sec;
}
"""


def kill(folder, times, ranks):
    """Kill trainings at moments of chance until `times` were killed; each then ends as the one left alone did."""
    config, kills, runs, lost = photos(folder), 0, 0, 0
    began = time.monotonic()
    finish(config, folder / "whole", ranks)
    seconds, expected = time.monotonic() - began, _state(folder / "whole")
    while kills < times:
        part = folder / f"part{runs}"
        while True:
            process = train(config, part, *_SAVING, ranks=ranks)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=random.uniform(0.2, 1.2) * seconds)
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        runs += 1
        lost += process.returncode != 0 or _state(part) != expected
    return {"killed": kills, "trainings": runs, "ranks": ranks, "lost": lost}


def finish(config, output, ranks=1, **options):
    """Train to the end, or go on to it; stop the soak if that fails."""
    process = train(config, output, *_SAVING, ranks=ranks, **options)
    said = process.communicate()[0]
    if process.returncode:
        sys.exit(f"a training that nobody disturbed ended with {process.returncode}:\n{said}")


def calls(folder, times, ranks):
    """Kill trainings at their n-th write, fsync, rename ...; each then ends as the one left alone did."""
    config, counts, lost, killed = photos(folder), _counted_calls(folder, ranks), 0, Counter()
    expected = _state(folder / "whole")
    for number in range(times):
        part, (call, when) = folder / f"part{number}", _chosen(_CALLS, counts)
        strace = _inject(call, f"signal=SIGKILL:when={when}")
        process = train(config, part, *_SAVING, ranks=ranks, strace=strace)
        process.communicate()
        killed[call] += process.returncode != 0
        finish(config, part, ranks)
        if _state(part) != expected:
            print(f"lost by a kill at {call} number {when}", file=sys.stderr)
            lost += 1
    return {"killed": sum(killed.values()), "at": killed, "ranks": ranks, "lost": lost}


def disk(folder, times, ranks):
    """Train on disks that become full, read-only or broken, then go on with a sound one; and on a slow one."""
    if "SOAK_MOUNTS" not in os.environ:  # in a namespace of its own anybody may mount
        os.execvpe(
            "unshare", ["unshare", "-Urm", sys.executable, *sys.argv], {**os.environ, "SOAK_MOUNTS": "1"}
        )
    config, counts, lost, ended = photos(folder), _counted_calls(folder, ranks), 0, Counter()
    expected = _state(folder / "whole")
    whole = sum(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
    for number in range(times):
        part, kind = folder / f"part{number}", random.choice(["full", *_BROKEN])
        part.mkdir()
        size = random.randint(1, whole) if kind == "full" else 2 * whole
        _mount(part, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")
        strace = None
        if kind in _BROKEN:
            strace = _inject(kind, f"error={_BROKEN[kind]}:when={random.randint(1, counts[kind])}+")
        process = train(config, part, *_SAVING, ranks=ranks, strace=strace)
        try:
            said = process.communicate(timeout=_HANGS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = f"Traceback: none, but it hangs: {process.communicate()[0]}"
        ended[f"{kind}: exit {process.returncode}"] += 1
        _mount(part, "-o", f"remount,rw,size={2 * whole}")
        finish(config, part, ranks)
        if "Traceback" in said or _state(part) != expected:
            print(f"{kind}, {size} bytes, {strace}:\n{said}", file=sys.stderr)
            lost += 1
        subprocess.run(["umount", str(part)], check=True)
    finish(config, folder / "slow", ranks, strace=_inject(_SLOW, "delay_exit=200ms"))
    lost += _state(folder / "slow") != expected
    return {"disks": times, "ended": ended, "slow": 1, "lost": lost}


def exports(folder, times, _ranks):
    """Kill an export over another one at system calls; the folder is the old one, the new one, or refused."""
    from ppcls_light import Predictor
    from ppcls_light.errors import UserError

    command = [sys.executable, __file__, "--export"]
    strace = ["strace", "-f", "-qq"]
    log, found, lost = folder / "calls.log", Counter(), 0
    export(folder / "0")
    subprocess.run(
        [*strace, "-e", f"trace={','.join(_CALLS)}", "-o", str(log), *command, str(folder / "0")], check=True
    )
    counts = _most_by_one(log)
    for number in range(1, times + 1):
        export(folder / str(number))
        call, when = _chosen(_CALLS, counts)
        killed = [*strace, *_inject(call, f"signal=SIGKILL:when={when}"), *command, str(folder / str(number))]
        subprocess.run(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            predictor = Predictor(folder / str(number) / "inference")
        except UserError:
            found["refused"] += 1
            continue
        rows = predictor.predict([np.full((SIZE, SIZE, 3), colour, "uint8") for colour in 200 * np.eye(3)])
        right = [row["label_names"][0] for row in rows] == list(COLOURS)
        found["new" if rows[0]["class_ids"][0] else "old"] += right
        lost += not right
    return {"killed": times, "found": found, "lost": lost}


def _inject(calls, harm):
    return ["-e", f"trace={calls}", "-e", f"inject={calls}:{harm}", "-o", "/dev/null"]


def _mount(folder, *options):
    subprocess.run(["mount", *options, str(folder)], check=True)


def clock(folder, times, _ranks):
    """Train, kill, resume and serve while every look at the time of day finds another one."""
    library = folder / "clock.so"
    compiler = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(compiler, input=_JUMPING_CLOCK, text=True, check=True)
    config, jumping, lost = photos(folder), {"LD_PRELOAD": str(library)}, 0
    finish(config, folder / "whole")
    for number in range(times):
        part = folder / f"part{number}"
        process = train(config, part, *_SAVING, environment=jumping)
        for line in process.stdout:
            if "[Train]" in line and random.random() < 0.1:
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.communicate()
        finish(config, part, environment=jumping)
        lost += _state(part) != _state(folder / "whole")
    os.environ.update(jumping)
    served = soak.requests(folder, 1000)
    return {"trainings": times, "requests": served["requests"], "lost": lost + served["lost"]}


def _counted_calls(folder, ranks):
    """Train once without harm; return {call: number}, see `_most_by_one`."""
    log = folder / "calls.log"
    finish(
        photos(folder), folder / "whole", ranks, strace=["-e", f"trace={','.join(_CALLS)}", "-o", str(log)]
    )
    return _most_by_one(log)


def _most_by_one(log):
    """Return {call: how many the process or thread with most of them made} from a log of strace."""
    made = Counter(tuple(line.split("(")[0].split()) for line in log.read_text(errors="replace").splitlines())
    return {
        call: max((count for (*_, name), count in made.items() if name == call), default=0) for call in _CALLS
    }


def _chosen(names, counts):
    call = random.choice([name for name in names if counts[name]])
    return call, random.randint(1, counts[call])


def _state(output):
    """Return the last checkpoint of a run as text that is equal for equal ones."""
    from ppcls_light.engine import checkpoint

    found = checkpoint.load(output / "latest")
    arrays = {
        f"{kind} {key}": np.asarray(value).tobytes().hex()
        for kind in ("weights", "raw", "optimizer")
        for key, value in sorted(getattr(found, kind).items())
    }
    return json.dumps([arrays, {key: found.states[key] for key in ("epoch", "position", "step")}])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        export(Path(sys.argv[2]), -1)
    else:
        runs = {kill: 50, calls: 50, disk: 25, exports: 40, clock: 3}
        run(__doc__, runs, lambda found: found["lost"])
