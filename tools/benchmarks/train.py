"""Training speed on CPU: samples per second with the project's operators, with Paddle's, and in PyTorch.

    python tools/benchmarks/train.py PPLCNet_x1_0 FasterNet_T0 --batch 32 --size 224

A step is forward, cross entropy, backward and a momentum update of the same random batch: the reader is not in it.
Cases run in processes of their own and take turns. A row is the median over the rounds of each round's median step.

    Paddle's, as installed  with one thread, which Paddle's import sets: what a PaddleClas training runs on
    Paddle's                with --threads
    own                     ppcls_light.ops.training, what training here uses (Global.cpu_ops)
    PyTorch                 timm's network of the same name, by --torch-python, an interpreter that has torch and timm
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.machine import physical_cores
from ppcls_light.base.timing import Spread
from ppcls_light.bench import harness
from ppcls_light.errors import UserError
from ppcls_light.ops.build import BuildError, library
from tools.benchmarks.torch_side import timm_name

AS_INSTALLED, PADDLE, OWN, TORCH = "Paddle's, as installed", "Paddle's", "own", "PyTorch"
COLUMNS = (
    *("model", "batch", "pixels", "operators", "threads"),
    *("samples/s", "slowest round", "fastest round", "times as installed"),
)
PEER = Path(__file__).with_name("torch_side.py")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser, rounds=5, runs=3)
    parser.add_argument("models", nargs="+", help="registered names")
    parser.add_argument("--batch", type=cli.positive, nargs="+", default=[32])
    parser.add_argument("--size", type=cli.positive, nargs="+", default=[224], help="pixels")
    parser.add_argument("--threads", type=cli.positive, default=physical_cores())
    parser.add_argument("--torch-python", metavar="PYTHON", help="interpreter for the PyTorch rows")
    return parser.parse_args()


def paddle_step(name, batch, size, threads, own):
    """Return the call of a case: one training step of `name`."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
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
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])

    def step():
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step


def torch_step(python, name, batch, size, threads):
    """Return the call of a case: the same of timm's network, in a process of `python`."""
    command = [python, str(PEER), "train", name, *map(str, (batch, size, threads))]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer():
        if not peer.stdout.readline():
            raise UserError(f"{python} {PEER.name} {name} ended; it needs torch and timm")

    def step():
        peer.stdin.write("\n")
        peer.stdin.flush()
        answer()

    answer()
    return step


def cases(arguments):
    """Return {(model, batch, pixels, operators, threads): case}."""
    found, threads = {}, arguments.threads
    for shape in itertools.product(arguments.models, arguments.batch, arguments.size):
        for kind, count in ((AS_INSTALLED, 1), (PADDLE, threads), (OWN, threads)):
            found[(*shape, kind, count)] = (paddle_step, *shape, count, kind == OWN)
        if arguments.torch_python and timm_name(shape[0]):
            found[(*shape, TORCH, threads)] = (torch_step, arguments.torch_python, *shape, threads)
    return found


def rows(medians):
    """Return the rows of `COLUMNS` of what `harness.measure` has measured."""
    table = []
    for (name, batch, size, kind, threads), times in medians.items():
        median, fastest, slowest = Spread.of(times)
        installed = Spread.of(medians[name, batch, size, AS_INSTALLED, 1]).median
        rates = (f"{1000 * batch / milliseconds:.1f}" for milliseconds in (median, slowest, fastest))
        table.append((name, batch, size, kind, threads, *rates, f"{installed / median:.2f}"))
    return table


def main():
    arguments = parse_arguments()
    try:
        library()  # built before anything is measured, and not loaded here
    except BuildError as problem:
        raise UserError(f"there are no own operators to measure: {problem}") from None
    medians = {}
    for shape, group in itertools.groupby(cases(arguments).items(), lambda item: item[0][:3]):
        print(f"{shape[0]}, batch {shape[1]}, {shape[2]} pixels ...", file=sys.stderr)
        medians.update(harness.measure(dict(group), arguments.rounds, arguments.runs))
    harness.report(arguments, COLUMNS, rows(medians), harness.conditions(arguments))


if __name__ == "__main__":
    from tools.benchmarks import train

    cli.run(train.main)  # the processes that are timed import its functions by this name
