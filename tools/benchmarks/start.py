"""Time from the start of Python to the first row, and memory, of an exported folder in several engines.

%(prog)s inference photo.jpg --engine native paddle --runs 7

Each run is a process of its own, in turns. Beside the engines stand Python alone, and Python with NumPy and OpenCV,
which read the photo in all of them.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

_PRINT_MEMORY = "from ppcls_light.base.machine import peak_memory; print(peak_memory())"
_CASES = {"Python": "", "Python, NumPy, OpenCV": "import numpy, cv2"}
_ENGINE = "import sys, ppcls_light; ppcls_light.load({folder!r}, engine={engine!r}).predict([{photo!r}])"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("photo")
    parser.add_argument("--engine", nargs="+", default=["native"])
    parser.add_argument("--runs", type=cli.positive, default=7)
    arguments = parser.parse_args(argv)
    cases = dict(_CASES)
    for engine in arguments.engine:
        cases[engine] = _ENGINE.format(folder=arguments.folder, engine=engine, photo=arguments.photo)
    times = {name: [] for name in cases}
    memory = {}
    for _ in range(arguments.runs + 1):  # the first one reads the files from the disk
        for name, code in cases.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append(1000 * (time.perf_counter() - begin))
    for name, code in cases.items():
        told = subprocess.run(
            [sys.executable, "-c", f"{code}\n{_PRINT_MEMORY}"], stdout=subprocess.PIPE, check=True
        )
        memory[name] = float(told.stdout.split()[-1])
    alone = statistics.median(times["Python"][1:])
    for name, found in times.items():
        median, least = statistics.median(found[1:]), min(found[1:])
        print(
            f"{name:24} {median:7.0f} ms ({least:.0f} at least), {median - alone:5.0f} after Python's own start, "
            f"{memory[name]:5.0f} MiB"
        )


if __name__ == "__main__":
    cli.run(main)
