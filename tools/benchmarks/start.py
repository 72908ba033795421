"""Time from the start of Python to the first row, and memory, of an exported folder in several engines.

%(prog)s inference photo.jpg --engine native paddle --runs 7
%(prog)s inference photo.jpg --engine native paddle --server-workers 8

Each run is a process of its own, in turns. Beside the engines stand Python alone, and Python with NumPy, and with the
reader of the photo. Memory is the process' share of physical memory (PSS, of Linux) after its row; with
`--server-workers` also that of the server and all of its workers, each of which has classified the photo.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
from tools.benchmarks.load import one_round, running_server

ROOT = Path(__file__).resolve().parents[2]
_REQUESTS = 8  # per worker
# Imports as they stand in front of the row, which each process prints, and then waits.
_CASES = {
    "Python": "print()",
    "Python, NumPy": "import numpy; print()",
    "Python, NumPy, OpenCV": "import numpy, cv2; print()",
    "Python, NumPy, Pillow": "import numpy, PIL.Image; PIL.Image.open({photo!r}).load(); print()",
}
_ENGINE = "import ppcls_light; print(ppcls_light.load({folder!r}, engine={engine!r}).predict([{photo!r}])[0])"
_WAIT = "import sys; sys.stdout.flush(); sys.stdin.read()"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("photo")
    parser.add_argument("--engine", nargs="+", default=["native"])
    parser.add_argument("--runs", type=cli.positive, default=7)
    parser.add_argument(
        "--server-workers", type=cli.positive, metavar="N", help="of a server to measure, too"
    )
    arguments = parser.parse_args(argv)
    commands = {name: python(code.format(photo=arguments.photo)) for name, code in _CASES.items()}
    for engine in arguments.engine:
        code = _ENGINE.format(folder=arguments.folder, engine=engine, photo=arguments.photo)
        commands[engine] = python(code)
        tool = str(ROOT / "deploy/python/predict_cls.py")
        commands[f"{engine}, predict_cls.py"] = [
            *(sys.executable, tool, arguments.folder, arguments.photo, "--engine", engine, "--quiet")
        ]
    found = {name: [] for name in commands}
    for _ in range(arguments.runs + 1):  # the first one reads the files from the disk
        for name, command in commands.items():
            found[name].append(first_line(command))
    alone = statistics.median(seconds for seconds, _ in found["Python"][1:])
    for name, runs in found.items():
        times = [1000 * seconds for seconds, _ in runs[1:]]
        mebibytes = runs[-1][1]
        print(
            f"{name:24} {statistics.median(times):6.0f} ms ({min(times):.0f} at least), "
            f"{statistics.median(times) - 1000 * alone:5.0f} after Python's own start"
            f"{f', {mebibytes:5.0f} MiB' if mebibytes else ''}"
        )
    for engine in arguments.engine if arguments.server_workers else ():
        print(
            server_memory(
                arguments.folder, Path(arguments.photo).read_bytes(), engine, arguments.server_workers
            )
        )


def python(code):
    """Return the command that runs `code` and waits for the end of its input."""
    return [sys.executable, "-c", f"{code}; {_WAIT}"]


def first_line(command):
    """Return the seconds until the process prints its first line, and its memory then in MiB, 0 if it has ended."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if not process.stdout.readline():
            sys.exit(f"error: no row from {command}")
        seconds = time.perf_counter() - begin
        mebibytes = memory(process.pid) if command[1] == "-c" else 0
        process.stdin.close()
    return seconds, mebibytes


def memory(pid):
    """Return the proportional share of a process in physical memory, MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: *(\d+)", text, re.MULTILINE)[1]) / 1024


def server_memory(folder, photo, engine, workers):
    """Return the memory of a server and its workers as a line, once each worker has classified the photo."""
    options = ["--engine", engine, "--workers", str(workers), "--threads", "1"]
    with running_server(folder, options) as address:
        while f"ppcls_workers {workers}.0" not in urlopen(f"{address}metrics").read().decode():
            time.sleep(0.2)
        answers = one_round(address, [photo], 2 * workers, _REQUESTS * workers, seconds=60)
        if not all(ids for _, _, ids in answers):
            sys.exit("error: the server left requests without an answer")
        (server,) = children(os.getpid())
        shares = [memory(pid) for pid in (server, *children(server))]
    return (
        f"{engine}: server with {len(shares) - 1} workers {sum(shares):.0f} MiB, of which the server itself "
        f"{shares[0]:.0f} and a worker {statistics.median(shares[1:]):.0f}"
    )


def children(parent):
    """Return the numbers of the processes that `parent` has started."""
    stats = (path.read_text().rpartition(")") for path in Path("/proc").glob("[0-9]*/stat"))
    return [int(left.split()[0]) for left, _, right in stats if int(right.split()[1]) == parent]


if __name__ == "__main__":
    cli.run(main)
