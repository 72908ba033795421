"""Cases of the benchmarks: each in a process of its own (`base.timing`), in turns."""

import argparse
import contextlib
import math
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, List, NamedTuple, Tuple

from ppcls_light.base.tables import write_csv
from ppcls_light.base.timing import SETTLE_SECONDS, TimedProcess
from ppcls_light.errors import UserError

# Those of a `Spread`.
TIMES = ("median ms", "fastest round", "slowest round")


class Case(NamedTuple):
    """A call to be timed, which `prepare(*arguments)` returns; `prepare` is in a module that can be imported."""

    prepare: Callable
    arguments: Tuple[Any, ...]


class Observation(NamedTuple):
    """What was seen of a case.

    Attributes:
        turns: the milliseconds of the calls, a list a turn.
        load, note: as of `timing.Prepared`.
        memory: the most that its process held at once, MiB, the interpreter included.
    """

    turns: List[List[float]]
    load: float
    memory: float
    note: Any

    @property
    def medians(self):
        """The median of each turn, milliseconds."""
        return [statistics.median(turn) for turn in self.turns]

    @property
    def p90(self):
        """What nine calls of ten keep within, over all turns, milliseconds; interpolated as numpy does."""
        times = [time for turn in self.turns for time in turn]
        return statistics.quantiles(times, n=10, method="inclusive")[8] if len(times) > 1 else times[0]


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
    return {name: seen.medians for name, seen in observe(cases, rounds, runs).items()}


def observe(cases, rounds, runs, seconds=math.inf, refused=None):
    """Time the cases in turns and see what else there is to see.

    Args:
        cases, rounds, runs: as of `measure`; with 0 rounds each is only prepared.
        seconds: after this long a turn ends before its `runs` calls are done, though never before the first.
        refused: a dict that gets {name: message} of the cases that cannot be run, which are left out then.

    Returns:
        {name: Observation}

    Raises:
        UserError: a case cannot be run, and there is no `refused` to say so.
    """
    seen = {}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, case in cases.items():
            with noting(refused, name):
                process = TimedProcess(case.prepare, *case.arguments)
                stack.callback(process.close)
                seen[name] = Observation([], *process.prepared())
                processes[name] = process
        for _ in range(rounds):
            for name, process in list(processes.items()):
                with noting(refused, name):
                    time.sleep(SETTLE_SECONDS)
                    times, memory = process.turn(runs, seconds)
                    seen[name] = seen[name]._replace(turns=[*seen[name].turns, times], memory=memory)
                    continue
                del processes[name]
    return {name: seen[name] for name in cases if name in processes}


@contextlib.contextmanager
def noting(refused, name):
    """Put the message of a UserError into `refused`; where that is None, raise it with the name of the case."""
    try:
        yield
    except UserError as error:
        if refused is None:
            raise UserError(f"{name}: {error}") from error
        refused[name] = str(error)


def write_rows(arguments, columns, rows, **more):
    """Write `rows` to `--csv`; in each, also what is `more`, the rounds and runs, and the environment."""
    more = {**more, "rounds": arguments.rounds, "runs": arguments.runs, "environment": environment()}
    write_csv(arguments.csv, [*columns, *more], [[*row, *more.values()] for row in rows])


def inference(folder, shape, options):
    """A case: one batch of random images of `shape` (N, C, H, W) through an exported folder.

    `options` are those of `EngineOptions`, as a dict; batch_size is that of `shape`.
    """
    import numpy as np

    from ppcls_light.bundle import read_bundle
    from ppcls_light.runtime.engines import create_engine
    from ppcls_light.runtime.options import EngineOptions

    engine = create_engine(read_bundle(folder), EngineOptions(**{**options, "batch_size": shape[0]}))
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


def environment(onednn=True):
    """Return what the times of a network depend on, as one line."""
    import paddle

    return f"{machine()}, Paddle {paddle.__version__}, oneDNN {'on' if onednn else 'off'}"


def machine():
    """Return the processor and its cores, as one line."""
    from ppcls_light.base.machine import physical_cores, processor_name

    return f"{processor_name()}, {physical_cores()} physical cores"
