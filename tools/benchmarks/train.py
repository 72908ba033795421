"""Training speed on CPU: samples per second with the project's operators, with Paddle's, and in PyTorch.

    python tools/benchmarks/train.py PPLCNet_x1_0 FasterNet_T0 --batch 16 64 --size 224 --csv output/train.csv \
        --torch-python PYTHON_WITH_TORCH_AND_TIMM --isa native avx2
    python tools/benchmarks/train.py MicroNet_M0 --torch-python PYTHON --micronet-repo CHECKOUT

A step is forward, cross entropy, backward and a momentum update of the same random batch: the reader is not in it.
The processes of a network and an instruction set take turns, shape by shape. A row is the median over the rounds of
each round's median step. "times PyTorch" is the median, the least and the greatest of the quotients within a round.

    Paddle's, as installed  with one thread, which Paddle's import sets: what a PaddleClas training runs on
    Paddle's                with --threads
    own                     ppcls_light.ops.training, what training here uses (Global.cpu_ops)
    PyTorch                 timm's network of the same name, or the authors' MicroNet of --micronet-repo, by
                            --torch-python, an interpreter that has torch and timm

--isa avx2 imitates a processor that has AVX2 and no AVX-512: our kernels are built for one, and the libraries of both
sides are told so by their variables. tools/benchmarks/train_table.py makes the table of docs/benchmarks.md of --csv.
"""

import contextlib
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.machine import physical_cores
from ppcls_light.base.threads import OMP_NUM_THREADS
from ppcls_light.base.timing import SETTLE_SECONDS, Spread, TimedProcess
from ppcls_light.bench import harness
from ppcls_light.errors import UserError
from ppcls_light.ops import build
from tools.benchmarks.torch_side import timm_name

AS_INSTALLED, PADDLE, OWN, TORCH = "Paddle's, as installed", "Paddle's", "own", "PyTorch"
COLUMNS = (
    *("model", "batch", "pixels", "instructions", "operators", "threads"),
    *("samples/s", "slowest round", "fastest round"),
    *("times as installed", "times PyTorch", "least", "greatest"),
)
PEER = Path(__file__).with_name("torch_side.py")
NATIVE, AVX2 = "native", "avx2"
# Variables of PyTorch's own kernels, of oneDNN in both frameworks, and of MKL in both.
ISAS = {
    NATIVE: {build.MARCH: "native"},
    AVX2: {
        build.MARCH: "x86-64-v3",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser, rounds=5, runs=3)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end a turn after so many")
    parser.add_argument("models", nargs="+", help="registered names")
    parser.add_argument("--batch", type=cli.positive, nargs="+", default=[32])
    parser.add_argument("--size", type=cli.positive, nargs="+", default=[224], help="pixels")
    parser.add_argument("--threads", type=cli.positive, default=physical_cores())
    parser.add_argument("--isa", choices=ISAS, nargs="+", default=[NATIVE], help="instruction sets")
    parser.add_argument("--own", action="store_true", help="leave out the rows of Paddle's operators")
    parser.add_argument("--torch-python", metavar="PYTHON", help="interpreter for the PyTorch rows")
    parser.add_argument(
        "--micronet-repo", metavar="DIR", help="checkout of the authors, for those of MicroNet"
    )
    return parser.parse_args()


def paddle_step(name, batch, size, own):
    """Return a training step of `name`: the call step(batch, size), of these where it gets none."""
    import paddle

    from ppcls_light import create_model
    from ppcls_light.ops import training

    if own:
        training.enable()
    paddle.seed(0)
    model = create_model(name)
    model.train()
    decay = paddle.regularizer.L2Decay(3e-5)
    optimizer = paddle.optimizer.Momentum(0.01, 0.9, parameters=model.parameters(), weight_decay=decay)
    drawn = {}

    def step(*shape):
        batch_size, pixels = shape or (batch, size)
        if shape not in drawn:
            drawn.clear()
            images = paddle.randn([batch_size, 3, pixels, pixels])
            drawn[shape] = images, paddle.randint(0, 1000, [batch_size])
        images, labels = drawn[shape]
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        return float(loss)

    return step


def torch_step(python, repo, name, batch, size, threads):
    """Return the same of the network in PyTorch, in a process of `python`; its note is PyTorch's version."""
    command = [python, str(PEER), "train", name, str(threads), *([repo] if repo else [])]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer():
        line = peer.stdout.readline()
        if not line:
            needs = f"{repo} as a checkout of liyunsheng13/micronet" if repo else "torch and timm"
            raise UserError(f"{python} {PEER.name} {name} ended; it needs {needs}")
        return line.strip()

    def step(*shape):
        peer.stdin.write(" ".join(map(str, shape or (batch, size))) + "\n")
        peer.stdin.flush()
        return answer()

    step.note = answer()
    return step


def cases(arguments, name, isa):
    """Return {(operators, threads): (case, environment)} of a network, as `TimedProcess` takes them."""
    shape, threads = (min(arguments.batch), min(arguments.size)), arguments.threads
    kinds = [(OWN, threads)] if arguments.own else [(AS_INSTALLED, 1), (PADDLE, threads), (OWN, threads)]
    found = {(kind, count): (paddle_step, name, *shape, kind == OWN) for kind, count in kinds}
    repo = arguments.micronet_repo if name.startswith("MicroNet_") else None
    if arguments.torch_python and (repo or timm_name(name)):
        found[TORCH, threads] = (torch_step, arguments.torch_python, repo, name, *shape, threads)
    return {key: (case, {**ISAS[isa], OMP_NUM_THREADS: str(key[1])}) for key, case in found.items()}


def measure(arguments, name, isa):
    """Return {(batch, pixels): {(operators, threads): median milliseconds of each round}}, and PyTorch's version."""
    medians = {}
    with contextlib.ExitStack() as stack:
        processes, version = {}, ""
        for key, (case, environment) in cases(arguments, name, isa).items():
            with harness.noting(None, (name, *key)):
                processes[key] = TimedProcess(*case, environment=environment)
                stack.callback(processes[key].close)
                version = processes[key].prepared().note or version
        for shape in itertools.product(arguments.batch, arguments.size):
            times = medians[shape] = {key: [] for key in processes}
            for number in range(arguments.rounds + 1):
                for key, process in processes.items():
                    time.sleep(SETTLE_SECONDS)
                    with harness.noting(None, (name, *key)):
                        turn = process.turn(arguments.runs if number else 1, arguments.seconds, *shape)
                    if number:  # the first one warms up
                        times[key].append(statistics.median(turn))
    return medians, version


def rows(name, isa, medians):
    """Return the rows of `COLUMNS` of what `measure` has measured."""
    table = []
    for (batch, size), cases in medians.items():
        installed, torch = (
            next((times for (kind, _), times in cases.items() if kind == wanted), None)
            for wanted in (AS_INSTALLED, TORCH)
        )
        for (kind, threads), times in cases.items():
            median, fastest, slowest = Spread.of(times)
            rates = (f"{1000 * batch / milliseconds:.1f}" for milliseconds in (median, slowest, fastest))
            table.append((name, batch, size, isa, kind, threads, *rates))
            table[-1] += (_times(installed, times)[0], *_times(torch, times))
    return table


def _times(theirs, ours):
    """Return how many times as fast `ours` is, of the rounds of both: the median, the least and the greatest."""
    if theirs is None:
        return "", "", ""
    return tuple(f"{value:.2f}" for value in Spread.of([their / our for their, our in zip(theirs, ours)]))


def main():
    arguments = parse_arguments()
    table, versions = [], set()
    for isa in arguments.isa:
        os.environ[build.MARCH] = ISAS[isa][build.MARCH]
        try:
            build.library()  # built before anything is measured, and not loaded here
        except build.BuildError as problem:
            raise UserError(f"there are no own operators to measure: {problem}") from None
    for name, isa in itertools.product(arguments.models, arguments.isa):
        print(f"{name}, {isa} ...", file=sys.stderr)
        medians, version = measure(arguments, name, isa)
        table += rows(name, isa, medians)
        versions.add(version)
    settings = {**harness.conditions(arguments), "environment": harness.environment(onednn=False)}
    settings["environment"] += "".join(f", PyTorch {version}" for version in sorted(filter(None, versions)))
    harness.report(arguments, COLUMNS, table, settings)


if __name__ == "__main__":
    from tools.benchmarks import train

    cli.run(train.main)  # the processes that are timed import its functions by this name
