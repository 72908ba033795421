"""Time of each operator of a training step on CPU, by Paddle's profiler: of this checkout, and of another one.

    python tools/benchmarks/trace_step.py FasterNet_T0 --batch 16 --size 224
    python tools/benchmarks/trace_step.py FasterNet_T0 --batch 16 --size 224 --checkout CHECKOUT_OF_A_COMMIT

A step is that of train.py with the project's operators. A row is an operator, forward or backward (`_grad`): calls per
step, and milliseconds per step without those of operators within it. Below stand the time between the operators, which
Python and the bookkeeping of gradients take, and the step, the median of those that were traced.
"""

import collections
import json
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
from ppcls_light.errors import UserError

# Paddle's names end with what the call took.
_TOOK = re.compile(r"\[[\d.]+ \w+\]$")
_OURS = re.compile(r"(?:Global_)?CustomOpGradNode: *")

# Run by itself with another checkout on the path: its own train.py has another signature.
STEPS = """
import glob, json, sys
import paddle
from paddle import profiler
from paddle.base import core
from ppcls_light import create_model
from ppcls_light.ops import training
name, batch, size, steps, folder = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
training.enable()
run = core.eager._run_custom_op
def recorded(name, *arguments):  # Paddle's profiler knows the gradients of custom operators alone
    with profiler.RecordEvent(name):
        return run(name, *arguments)
core.eager._run_custom_op = recorded
paddle.seed(0)
model = create_model(name)
model.train()
optimizer = paddle.optimizer.Momentum(0.01, 0.9, parameters=model.parameters())
images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])
def step():
    loss = paddle.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.clear_grad(set_to_zero=False)
for _ in range(3):
    step()
traced = profiler.Profiler(
    targets=[profiler.ProfilerTarget.CPU], on_trace_ready=profiler.export_chrome_tracing(folder)
)
traced.start()
for _ in range(steps):
    step()
    traced.step()
traced.stop()
"""


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("model", help="a registered name")
    parser.add_argument("--batch", type=cli.positive, default=16)
    parser.add_argument("--size", type=cli.positive, default=224, help="pixels")
    parser.add_argument("--steps", type=cli.positive, default=5)
    parser.add_argument("--rows", type=cli.positive, default=12, help="operators that are shown")
    parser.add_argument(
        "--checkout", default=str(Path(__file__).resolve().parents[2]), help="of this project"
    )
    return parser.parse_args()


def events(arguments):
    """Return what Paddle's profiler has traced, a list of events of Chrome's trace format."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = map(str, (arguments.batch, arguments.size, arguments.steps))
        command = [sys.executable, "-c", STEPS, arguments.model, *numbers, folder]
        environment = {**os.environ, "PYTHONPATH": arguments.checkout}
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = list(Path(folder).glob("*.json"))
        if done.returncode or not found:
            raise UserError(
                f"the step of {arguments.checkout} failed: {done.stdout.strip().splitlines()[-1:]}"
            )
        return json.loads(found[0].read_text(encoding="utf-8"))["traceEvents"]


def operators(traced):
    """Return {operator: [calls, milliseconds of its own]} of the events of all steps."""
    own = collections.defaultdict(lambda: [0, 0.0])
    spans = [event for event in traced if event.get("ph") == "X" and is_operator(event)]
    by_thread = collections.defaultdict(list)
    for event in spans:
        by_thread[event["pid"], event["tid"]].append(event)
    for thread in by_thread.values():
        open_spans = []
        for event in sorted(thread, key=lambda event: (event["ts"], -event["dur"])):
            while open_spans and end(event) > end(open_spans[-1]):
                open_spans.pop()
            name = name_of(event)
            own[name][0] += 1
            own[name][1] += event["dur"] / 1000
            if open_spans:
                own[name_of(open_spans[-1])][1] -= event["dur"] / 1000
            open_spans.append(event)
    return own


def end(event):
    return event["ts"] + event["dur"]


def is_operator(event):
    return event.get("cat") == "Operator" or event.get("name", "").startswith("ppcls_")


def name_of(event):
    return _OURS.sub("", _TOOK.sub("", event["name"]))


def main():
    arguments = parse_arguments()
    traced = events(arguments)
    steps = [event["dur"] / 1000 for event in traced if event.get("cat") == "ProfileStep"]
    found = sorted(operators(traced).items(), key=lambda item: -item[1][1])
    count, step = len(steps), statistics.median(steps)
    rows = [(name, round(calls / count), f"{time / count:.2f}") for name, (calls, time) in found]
    others = found[arguments.rows :]
    if others:
        rest = sum(time for _, (_, time) in others) / count
        rows[arguments.rows :] = [(f"{len(others)} others", "", f"{rest:.2f}")]
    between = sum(steps) / count - sum(time for _, (_, time) in found) / count
    rows += [("between the operators", "", f"{between:.2f}"), ("step", "", f"{step:.2f}")]
    print(f"{arguments.model}, batch {arguments.batch}, {arguments.size} pixels, {harness.environment()}")
    print(markdown_table(("operator", "calls", "ms"), rows))


if __name__ == "__main__":
    cli.run(main)
