"""Time of each operator of an exported folder in Paddle Inference on CPU, by Paddle's own profile.

    python tools/trace_ops.py inference --batch 1 --threads 1

A row is an operator: calls a run, milliseconds a run on average, and the fastest single call, which other load
on the machine does not reach.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import benchmark, cli
from ppcls_light.tables import markdown_table

# event, calls, total ms, fastest ms; events within an operator are indented, constants are other threads'
_EVENT = re.compile(r"^thread0::(\S+)\s+(\d+)\s+(\S+)\s+(\S+)\s", re.MULTILINE)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="holds inference.json and inference.yml")
    parser.add_argument("--batch", type=benchmark.positive, default=1)
    parser.add_argument("--threads", type=benchmark.positive, default=1)
    parser.add_argument("--runs", type=benchmark.positive, default=100)
    parser.add_argument("--no-onednn", action="store_true")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)  # the process that is profiled
    return parser.parse_args()


def run(arguments):
    import numpy as np

    from ppcls_light.export import read_bundle
    from ppcls_light.inference.engines import create_engine
    from ppcls_light.inference.options import EngineOptions

    bundle = read_bundle(arguments.folder)
    options = EngineOptions(cpu_threads=arguments.threads, onednn=not arguments.no_onednn, profile=True)
    engine = create_engine(bundle, options)
    images = np.zeros((arguments.batch, *(bundle.image_shape or (3, 224, 224))), "float32")
    for _ in range(arguments.runs):
        engine.run(images)


def main():
    arguments = parse_arguments()
    if arguments.run:
        return run(arguments)
    command = [sys.executable, str(Path(__file__).resolve()), os.path.abspath(arguments.folder), "--run"]
    for name in ("batch", "threads", "runs"):
        command += [f"--{name}", str(getattr(arguments, name))]
    if arguments.no_onednn:
        command.append("--no-onednn")
    # Paddle prints its profile when the process ends, and leaves a profile.log where it runs
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=scratch)
    if done.returncode:
        sys.exit(done.returncode)
    rows = [
        (name, int(calls) / arguments.runs, float(total) / arguments.runs, float(least))
        for name, calls, total, least in _EVENT.findall(done.stdout)
    ]
    rows = sorted((row for row in rows if row[1] >= 1), key=lambda row: -row[2])
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows), ""))
    print(
        markdown_table(
            ("operator", "calls a run", "ms a run", "fastest call, ms"),
            [(name, round(calls), f"{total:.3f}", least) for name, calls, total, least in rows],
        ),
        end="",
    )
    return None


if __name__ == "__main__":
    cli.run(main)
