"""Processor time of each stage of predict_cls.py, and the images/s that all cores could do at most.

    python tools/benchmarks/predict_stages.py inference/ photos/
    python tools/benchmarks/predict_stages.py inference/ photos/ --engines paddle openvino

A stage is measured in one thread, in milliseconds of the processor per image, on what the stages before it made;
files are read once before. "decode" has the checks of the header and the orientation in it; "header" shows the first.
"network" is the engine on one thread. "whole way" is the same without stops, and "overhead" what it takes beyond the
stages: calls, locks, memory. "cores could do" is the number of cores divided by the whole way: the difference from the
images/s of `tools/benchmarks/predict.py` is that of workers and queues. The stages take turns, round by round; a row is
the median of the rounds, with the fastest and the slowest.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.machine import physical_cores
from ppcls_light.bench import harness
from ppcls_light.data import find_images

# isort: split
import numpy as np

from ppcls_light.data.decode import image_size, read_bytes
from ppcls_light.data.opencv import use_one_thread
from ppcls_light.errors import UserError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.pipeline import in_batches
from ppcls_light.prediction.results import format_row

COLUMNS = ("stage", "CPU ms per image", "fastest round", "slowest round", "share of the whole way")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser, rounds=5, runs=None)
    parser.add_argument("model", help="exported folder")
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--engines", nargs="+", default=["paddle"], help="default: paddle")
    parser.add_argument("--batch", type=cli.positive, default=8, help="default 8")
    parser.add_argument("--images", type=cli.positive, default=256, help="how many at most (default 256)")
    return parser.parse_args()


def each(function, values):
    """Return a call of `function` on each of `values` that keeps no result: fresh memory would cost more."""

    def call():
        for value in values:
            function(value)

    return call


def stages(predictor, paths):
    """Yield (name, call) up to the arrays of the network: a call does one stage for all `paths`."""

    yield "read", each(read_bytes, paths)
    values = list(map(read_bytes, paths))
    yield "header", each(image_size, values)
    for step in predictor.transforms.steps:
        name = type(step).__name__
        yield "decode" if name == "DecodeImage" else name, each(step, values)
        values = [step(value) for value in values]
    batches = [np.stack(batch) for batch in in_batches(values, predictor.batch_size)]
    yield "normalise, layout", each(predictor.transforms.finish, batches)


def cases(predictors, paths):
    """Return {name: call}, where a call does one stage, or the whole way, for all `paths`."""
    first = next(iter(predictors.values()))
    calls = dict(stages(first, paths))
    images = [first.preprocess(path) for path in paths]
    batches = [np.stack(batch) for batch in in_batches(images, first.batch_size)]
    names = list(in_batches(paths, first.batch_size))
    answers = list(map(first.run, batches))

    def row(probabilities):
        for one in first.rows(probabilities, [""] * len(probabilities)):
            format_row("", one)

    calls["row"] = each(row, answers)
    for engine, predictor in predictors.items():
        calls[f"network, {engine}"] = each(predictor.run, batches)
        calls[f"whole way, {engine}"] = each(predictor.predict_batch, names)
    return calls


def measure(calls, rounds, images):
    """Return {name: [CPU milliseconds per image of each round]}; every case is called once before."""
    used = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if number:
                used[name].append(1000 * (time.process_time() - began) / images)
    return used


def with_overhead(used, engines):
    """Return `used` with what the whole way of each engine takes beyond its stages, in each round."""
    own = ("header", "network", "whole way")  # the header is read in decoding, too
    shared = [name for name in used if not name.startswith(own)]
    for engine in engines:
        parts = [used[name] for name in (*shared, f"network, {engine}")]
        whole = used[f"whole way, {engine}"]
        used[f"overhead, {engine}"] = [all_of_it - sum(part) for all_of_it, *part in zip(whole, *parts)]
    return used


def main():
    arguments = parse_arguments()
    paths = find_images(arguments.photos)[: arguments.images]
    if len(paths) < arguments.batch:
        raise UserError(f"{arguments.photos}: {len(paths)} images; give at least {arguments.batch}")
    use_one_thread()
    predictors = {
        engine: Predictor(arguments.model, engine=engine, cpu_threads=1, batch_size=arguments.batch)
        for engine in arguments.engines
    }
    used = with_overhead(measure(cases(predictors, paths), arguments.rounds, len(paths)), arguments.engines)
    whole = statistics.median(used[f"whole way, {arguments.engines[0]}"])
    rows = []
    for name, times in used.items():
        figures = (f"{of(times):.3f}" for of in (statistics.median, min, max))
        rows.append([name, *figures, f"{statistics.median(times) / whole:.0%}"])
    settings = {"images": len(paths), "batch": arguments.batch, "rounds": arguments.rounds}
    harness.report(arguments, COLUMNS, rows, {**settings, "environment": harness.machine()})
    for engine in arguments.engines:
        rate = 1000 * physical_cores() / statistics.median(used[f"whole way, {engine}"])
        print(f"{engine}: {physical_cores()} cores could do {rate:.0f} images/s")


if __name__ == "__main__":
    cli.run(main)
