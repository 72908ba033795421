"""Latency of exported networks in Paddle Inference on CPU, with and without the export's folding.

    python tools/benchmark.py FasterNet_T0 PPLCNet_x1_0 --threads 1 2 --batch 1

Random weights: times only. Every case runs in a process of its own; the cases take turns, round by round, so
that other load on the machine meets all of them. A row is the median over the rounds of each round's median,
and the spread is from the fastest to the slowest round.
"""

import argparse
import csv
import itertools
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="registered names")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=30, help="forward passes a round")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there")
    return parser.parse_args()


def export(name, size, folder):
    """Save the network twice; return {"folded": folder, "as trained": folder}."""
    from ppcls_light import create_model
    from ppcls_light.export.fold import fold
    from ppcls_light.export.static import save_static

    model = create_model(name)
    model.eval()
    folders = {}
    for form, network in (("folded", fold(model)), ("as trained", model)):
        folders[form] = Path(folder) / f"{name} {form}"
        folders[form].mkdir()
        save_static(network, str(folders[form]), [3, size, size])
    return folders


def serve(pipe, folder, threads, shape, runs):
    """Run in a process of its own: for each message, time `runs` forward passes and send their median in ms."""
    import numpy as np

    from ppcls_light.export import read_bundle
    from ppcls_light.inference.paddle_engine import EngineOptions, PaddleEngine

    engine = PaddleEngine(read_bundle(folder), EngineOptions(cpu_threads=threads))
    images = np.random.default_rng(0).standard_normal(shape).astype("float32")
    for _ in range(5):
        engine.run(images)
    pipe.send("ready")
    while pipe.recv():
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            engine.run(images)
            times.append((time.perf_counter() - began) * 1000)
        pipe.send(statistics.median(times))


def measure(cases, rounds, runs):
    """Return {case: [median ms of each round]} for {case: (folder, threads, input shape)}."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for case, (folder, threads, shape) in cases.items():
        pipes[case], theirs = context.Pipe()
        processes.append(
            context.Process(target=serve, args=(theirs, str(folder), threads, shape, runs), daemon=True)
        )
        processes[-1].start()
        pipes[case].recv()
    medians = {case: [] for case in cases}
    for _ in range(rounds):
        for case, pipe in pipes.items():
            pipe.send(True)
            medians[case].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return medians


def environment():
    """Return what the times depend on, as one line."""
    import paddle

    from ppcls_light.inference.cores import physical_cores

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), cpu)
    return f"{cpu}, {physical_cores()} physical cores, Paddle {paddle.__version__}, oneDNN on"


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        cases = {}
        for name in arguments.models:
            for form, folder in export(name, arguments.size, scratch).items():
                for batch, threads in itertools.product(arguments.batch, arguments.threads):
                    shape = (batch, 3, arguments.size, arguments.size)
                    cases[name, form, batch, threads] = folder, threads, shape
        medians = measure(cases, arguments.rounds, arguments.runs)
    print(f"\n{environment()}; {arguments.rounds} rounds of {arguments.runs} runs, {arguments.size} pixels\n")
    columns = ("model", "form", "batch", "threads", "median ms", "fastest round", "slowest round")
    rows = [
        (*case, *(f"{value:.2f}" for value in (statistics.median(times), min(times), max(times))))
        for case, times in medians.items()
    ]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    if arguments.csv:
        with open(arguments.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, "environment"])
            writer.writerows([*row, environment()] for row in rows)


if __name__ == "__main__":
    cli.run(main)
