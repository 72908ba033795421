"""Time of each operator of an exported folder in Paddle Inference on CPU, by Paddle's own profile.

    python tools/benchmarks/trace_ops.py inference --batch 1 --threads 1 --limit

A row is an operator: calls per run, milliseconds per run on average, and the fastest single call, which other load
on the machine does not reach. Under the table stands what a run would take if every call were its operator's fastest.
`--limit` adds what a run takes without the profile, and its arithmetic per second (two operations a multiply-add)
beside that of one large convolution in the same engine: the processor's limit.
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
from ppcls_light.bench import harness
from ppcls_light.errors import ConfigError

CHANNELS, SIDE = 512, 28  # of the convolution that shows the limit: large enough for its arithmetic to decide

# event, calls, total ms, fastest ms; events within an operator are indented, constants are other threads'
_EVENT = re.compile(r"^thread0::(\S+)\s+(\d+)\s+(\S+)\s+(\S+)\s", re.MULTILINE)


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("folder", type=os.path.abspath, help="holds inference.json and inference.yml")
    parser.add_argument("--batch", type=cli.positive, default=1)
    parser.add_argument("--threads", type=cli.positive, default=1)
    parser.add_argument("--runs", type=cli.positive, default=100)
    parser.add_argument("--no-onednn", action="store_true")
    parser.add_argument("--limit", action="store_true", help="measure what the processor can do, too")
    parser.add_argument("--profiled", metavar="DIR", help=argparse.SUPPRESS)  # the process that is profiled
    return parser.parse_args()


def engine_options(arguments, profile=False):
    from ppcls_light.runtime.options import EngineOptions

    return EngineOptions(
        cpu_threads=arguments.threads,
        batch_size=arguments.batch,
        onednn=not arguments.no_onednn,
        profile=profile,
    )


def image_shape(bundle):
    return bundle.image_shape or [3, 224, 224]


def run_profiled(arguments):
    """Run the network with Paddle's profile, which Paddle prints when the process ends."""
    from ppcls_light.bundle import read_bundle
    from ppcls_light.runtime.race import EngineCall

    bundle = read_bundle(arguments.folder)
    os.chdir(arguments.profiled)  # Paddle leaves a profile.log where it runs
    options = engine_options(arguments, profile=True)
    run = EngineCall(bundle, options, (arguments.batch, *image_shape(bundle)))
    for _ in range(arguments.runs):
        run()


def operators(runs):
    """Return [(operator, calls per run, ms per run, fastest call in ms)], the slowest operator first."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, *sys.argv, "--profiled", scratch]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    rows = [
        (name, int(calls) / runs, float(total) / runs, float(least))
        for name, calls, total, least in _EVENT.findall(done.stdout)
    ]
    return sorted((row for row in rows if row[1] >= 1), key=lambda row: -row[2])


def limit(arguments):
    """Return the lines of `--limit`; the network and the convolution take turns."""
    from paddle import nn

    from ppcls_light import create_model
    from ppcls_light.bundle import read_bundle
    from ppcls_light.export.static import save_static
    from ppcls_light.models.profile import profile
    from ppcls_light.runtime.race import EngineCall

    bundle = read_bundle(arguments.folder)
    if not bundle.model_name:
        raise ConfigError(
            f"{bundle.folder}: no inference.yml that names the network, whose multiply-adds --limit counts; leave "
            "--limit out"
        )
    network = create_model(bundle.model_name, class_num=bundle.class_num or 1000)
    shapes = {"the network": image_shape(bundle), "one 1x1 convolution": [CHANNELS, SIDE, SIDE]}
    multiply_adds = profile(network, shapes["the network"]).multiply_adds, CHANNELS**2 * SIDE**2
    convolution = nn.Sequential(nn.Conv2D(CHANNELS, CHANNELS, 1), nn.AdaptiveAvgPool2D(1), nn.Flatten())
    with tempfile.TemporaryDirectory() as scratch:
        save_static(convolution, scratch, shapes["one 1x1 convolution"])
        cases = {
            name: (EngineCall, of, engine_options(arguments), (arguments.batch, *shape))
            for (name, shape), of in zip(shapes.items(), (bundle, read_bundle(scratch)))
        }
        medians = harness.measure(cases, rounds=5, runs=20)
    environment = harness.environment(onednn=not arguments.no_onednn)
    lines = [f"{environment}; batch {arguments.batch}, threads {arguments.threads}"]
    for (name, rounds), count in zip(medians.items(), multiply_adds):
        median = statistics.median(rounds)
        gflops = 2 * count * arguments.batch / median / 1e6
        lines.append(f"{name}: {median:.2f} ms, {gflops:.0f} GFLOPS")
    return lines


def main():
    arguments = parse_arguments()
    if arguments.profiled:
        run_profiled(arguments)
        return
    limits = limit(arguments) if arguments.limit else []
    rows = operators(arguments.runs)
    cells = [(name, round(calls), f"{total:.3f}", least) for name, calls, total, least in rows]
    cells.append(("all", round(sum(row[1] for row in rows)), f"{sum(row[2] for row in rows):.3f}", ""))
    print(markdown_table(("operator", "calls per run", "ms per run", "fastest call, ms"), cells), end="")
    fastest = sum(calls * least for _, calls, _, least in rows)
    print("", f"{fastest:.2f} ms per run if every call took its operator's fastest", *limits, sep="\n")


if __name__ == "__main__":
    cli.run(main)
