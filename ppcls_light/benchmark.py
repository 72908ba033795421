"""Timing on a machine that does other things as well: a process for each case, and the cases take turns.

Other load, throttling and warm-up then meet all cases alike, and no case inherits another's threads or caches.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, NamedTuple, Tuple

from .cli import quiet_paddle
from .errors import UserError
from .tables import write_csv

# What `summary` returns.
TIMES = ("median ms", "fastest round", "slowest round")

WARM_UP = 5

# OpenMP's threads spin for 0.2 s after their last work before they sleep (KMP_BLOCKTIME); until then they
# would take a core from the case that is measured next.
SETTLE_SECONDS = 0.3


class Case(NamedTuple):
    """What a process of its own times: `prepare(*arguments)` returns the function that is called."""

    prepare: Callable
    arguments: Tuple[Any, ...]


def tool_parser(description):
    """Return a parser with `--rounds`, `--runs` and `--csv`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=positive, default=7, help="turns of each case (default 7)")
    parser.add_argument("--runs", type=positive, default=30, help="calls a turn (default 30)")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there")
    return parser


def positive(text):
    """Return `text` as a whole number >= 1; for argparse."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got '{text}'")
    return int(text)


def measure(cases, rounds, runs):
    """Time the cases in turns.

    Args:
        cases: {name: Case}. What a case needs travels to its process, so it must be picklable.
        rounds: turns of each case.
        runs: calls a turn.

    Returns:
        {name: [median milliseconds of each turn]}

    Raises:
        UserError: the process of a case ended; what it says is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    workers = {}
    try:
        for name, case in cases.items():
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, case, runs), daemon=True)
            workers[name] = process, pipe
            process.start()
            # Only the worker must hold its end, so that its death is an end of file here.
            theirs.close()
            _receive(name, pipe)
        medians = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (_, pipe) in workers.items():
                time.sleep(SETTLE_SECONDS)
                pipe.send(True)
                medians[name].append(_receive(name, pipe))
    finally:
        for process, pipe in workers.values():
            pipe.close()
            process.join()
    return medians


def _receive(name, pipe):
    try:
        return pipe.recv()
    except EOFError:
        raise UserError(f"the process that times {name} ended; see its message above") from None


def _serve(pipe, case, runs):
    """Prepare the case, then time `runs` calls and send their median for each message, until the pipe closes."""
    quiet_paddle()
    call = case.prepare(*case.arguments)
    for _ in range(WARM_UP):
        call()
    pipe.send(None)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1000)
        pipe.send(statistics.median(times))


def summary(medians):
    """Return the median, the least and the greatest of the rounds' medians."""
    return statistics.median(medians), min(medians), max(medians)


def write_rows(arguments, columns, rows, **more):
    """Write `rows` to `--csv`; in each, also what is `more`, the rounds and runs, and the environment."""
    more = {**more, "rounds": arguments.rounds, "runs": arguments.runs, "environment": environment()}
    write_csv(arguments.csv, [*columns, *more], [[*row, *more.values()] for row in rows])


def paddle_inference(folder, shape, threads):
    """A case: one batch of random images of `shape` (N, C, H, W) through an exported folder, on the CPU."""
    import numpy as np

    from .export import read_bundle
    from .inference.engines import create_engine
    from .inference.options import EngineOptions

    engine = create_engine(read_bundle(folder), EngineOptions(cpu_threads=threads))
    images = np.random.default_rng(0).standard_normal(shape).astype("float32")
    return lambda: engine.run(images)


def matrix_product(size, threads):
    """A case: one product of two float32 matrices (size, size) by numpy's BLAS, 2 size^3 operations."""
    if "numpy" in sys.modules:
        raise RuntimeError("numpy's BLAS reads its thread count when numpy is imported, which has happened")
    os.environ.update({f"{library}_NUM_THREADS": str(threads) for library in ("OPENBLAS", "MKL", "OMP")})
    import numpy as np

    left, right = np.random.default_rng(0).standard_normal((2, size, size)).astype("float32")
    product = np.empty_like(left)
    return lambda: np.matmul(left, right, out=product)


def array_copy(size, threads):
    """A case: copy `size` bytes in `threads` parts at once; each byte is read once and written once."""
    import numpy as np

    parts = [(np.ones(size // threads, "uint8"), np.ones(size // threads, "uint8")) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    # numpy lets other threads run while it copies
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def environment():
    """Return what the times of a network depend on, as one line."""
    import paddle

    return f"{machine()}, Paddle {paddle.__version__}, oneDNN on"


def machine():
    """Return the processor and its cores, as one line."""
    from .cores import physical_cores

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    return f"{cpu}, {physical_cores()} physical cores"
