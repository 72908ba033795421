"""Time of each operator of an exported folder in Paddle Inference on CPU, by Paddle's own profile.

    python tools/benchmarks/trace_ops.py inference --batch 1 --threads 1 --limit

A row is an operator: calls a run, milliseconds a run on average, and the fastest single call, which other load
on the machine does not reach. Under the table stands what a run would take if every call were its operator's fastest.
`--limit` adds what a run takes without the profile, and its arithmetic a second (two operations a multiply-add) beside
that of one large convolution in the same engine: the processor's limit.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.errors import ConfigError
from tools.benchmarks import harness

CHANNELS, SIDE = 512, 28  # of the convolution that shows the limit: large enough for its arithmetic to decide

# event, calls, total ms, fastest ms; events within an operator are indented, constants are other threads'
_EVENT = re.compile(r"^thread0::(\S+)\s+(\d+)\s+(\S+)\s+(\S+)\s", re.MULTILINE)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="holds inference.json and inference.yml")
    parser.add_argument("--batch", type=harness.positive, default=1)
    parser.add_argument("--threads", type=harness.positive, default=1)
    parser.add_argument("--runs", type=harness.positive, default=100)
    parser.add_argument("--no-onednn", action="store_true")
    parser.add_argument("--no-cpu-ops", action="store_true", help="MicroNet on Paddle's own operators")
    parser.add_argument("--limit", action="store_true", help="measure what the processor can do, too")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)  # the process that is profiled
    return parser.parse_args()


def image_shape(bundle):
    return bundle.image_shape or [3, 224, 224]


def switches(arguments):
    return {"onednn": not arguments.no_onednn, "cpu_ops": not arguments.no_cpu_ops}


def run(arguments):
    import numpy as np

    from ppcls_light.bundle import read_bundle
    from ppcls_light.runtime.engines import create_engine
    from ppcls_light.runtime.options import EngineOptions

    bundle = read_bundle(arguments.folder)
    options = EngineOptions(cpu_threads=arguments.threads, profile=True, **switches(arguments))
    engine = create_engine(bundle, options)
    images = np.zeros((arguments.batch, *image_shape(bundle)), "float32")
    for _ in range(arguments.runs):
        engine.run(images)


def limit(arguments):
    """Return the lines of `--limit`; the network and the convolution take turns."""
    from paddle import nn

    from ppcls_light import create_model
    from ppcls_light.bundle import read_bundle
    from ppcls_light.export.static import save_static
    from ppcls_light.models.profile import profile

    bundle = read_bundle(arguments.folder)
    if not bundle.model_name:
        raise ConfigError(
            f"{bundle.folder}: no inference.yml that names the network, whose multiply-adds --limit counts; leave "
            "--limit out"
        )
    network = create_model(bundle.model_name, class_num=bundle.class_num or 1000)
    shape = image_shape(bundle)
    convolution = nn.Sequential(nn.Conv2D(CHANNELS, CHANNELS, 1), nn.AdaptiveAvgPool2D(1), nn.Flatten())
    with tempfile.TemporaryDirectory() as scratch:
        save_static(convolution, scratch, [CHANNELS, SIDE, SIDE])
        options = {"cpu_threads": arguments.threads, **switches(arguments)}
        cases = {
            "the network": (bundle.folder, shape, profile(network, shape).multiply_adds),
            "one 1x1 convolution": (scratch, [CHANNELS, SIDE, SIDE], CHANNELS**2 * SIDE**2),
        }
        medians = harness.measure(
            {
                name: harness.Case(harness.inference, (folder, (arguments.batch, *shape), options))
                for name, (folder, shape, _) in cases.items()
            },
            rounds=5,
            runs=20,
        )
    environment = harness.environment(onednn=not arguments.no_onednn)
    lines = [f"{environment}; batch {arguments.batch}, threads {arguments.threads}"]
    for name, (_, _, multiply_adds) in cases.items():
        median = statistics.median(medians[name])
        gflops = 2 * multiply_adds * arguments.batch / median / 1e6
        lines.append(f"{name}: {median:.2f} ms, {gflops:.0f} GFLOPS")
    return lines


def main():
    arguments = parse_arguments()
    if arguments.run:
        return run(arguments)
    limits = limit(arguments) if arguments.limit else []
    command = [sys.executable, str(Path(__file__).resolve()), os.path.abspath(arguments.folder), "--run"]
    for name in ("batch", "threads", "runs"):
        command += [f"--{name}", str(getattr(arguments, name))]
    command += [
        f"--{name}" for name in ("no-onednn", "no-cpu-ops") if getattr(arguments, name.replace("-", "_"))
    ]
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
    fastest = sum(calls * float(least) for _, calls, _, least in rows[:-1])
    print("", f"{fastest:.2f} ms a run if every call took its operator's fastest", *limits, sep="\n")
    return None


if __name__ == "__main__":
    cli.run(main)
