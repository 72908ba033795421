"""Timing on a machine that does other things as well: a process for each case, and the cases take turns.

Other load, throttling and warm-up then meet all cases alike, and no case inherits another's threads or caches.
"""

import argparse
import contextlib
import math
import multiprocessing
import os
import resource
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Tuple

from ppcls_light.base import missing
from ppcls_light.base.quiet import quiet_paddle
from ppcls_light.base.tables import write_csv
from ppcls_light.errors import UserError

# What `summary` returns.
TIMES = ("median ms", "fastest round", "slowest round")

WARM_UP = 5

# OpenMP's threads spin for 0.2 s after their last work before they sleep (KMP_BLOCKTIME); until then they
# would take a core from the case that is measured next.
SETTLE_SECONDS = 0.3


class Case(NamedTuple):
    """What a process of its own times: `prepare(*arguments)` returns the function that is called.

    If that has an attribute `note`, a text, the observation carries it.
    """

    prepare: Callable
    arguments: Tuple[Any, ...]


class Observation(NamedTuple):
    """What was seen of a case.

    Attributes:
        turns: the milliseconds of the calls, a list a turn.
        load: milliseconds from the start of `prepare`, imports included, to the end of the first call.
        memory: the most that its process held at once, MiB, the interpreter included.
        note: what the case said of itself once it was prepared.
    """

    turns: List[List[float]]
    load: float
    memory: float
    note: str

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
    workers, working = [], {}
    try:
        for name, case in cases.items():
            workers.append(_Worker(name))
            with noting(refused, name):
                workers[-1].prepare(case, runs, seconds)
                working[name] = workers[-1]
        for _ in range(rounds):
            for name, worker in list(working.items()):
                # Out until its turn has gone well.
                del working[name]
                with noting(refused, name):
                    worker.turn()
                    working[name] = worker
    finally:
        for worker in workers:
            worker.close()
    return {name: working[name].seen for name in cases if name in working}


@contextlib.contextmanager
def noting(refused, name):
    """Put the message of a UserError into `refused`; raise it where that is None."""
    try:
        yield
    except UserError as error:
        if refused is None:
            raise
        refused[name] = str(error)


class _Worker:
    """The process of a case, seen from outside; `seen` is its Observation so far."""

    def __init__(self, name):
        self._name = name
        self.seen = None

    def prepare(self, case, runs, seconds):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, case, runs, seconds), daemon=True)
        self._process.start()
        # Only the worker must hold its end, so that its death is an end of file here.
        theirs.close()
        self.seen = Observation([], *self._receive())

    def turn(self):
        time.sleep(SETTLE_SECONDS)
        self._pipe.send(True)
        times, memory = self._receive()
        self.seen = self.seen._replace(turns=[*self.seen.turns, times], memory=memory)

    def _receive(self):
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise UserError(f"the process that times {self._name} ended; see its message above") from None
        if isinstance(answer, UserError):
            raise answer
        return answer

    def close(self):
        self._pipe.close()
        self._process.join()


def _serve(pipe, case, runs, seconds):
    """Prepare the case, then time `runs` calls and send the times for each message, until the pipe closes."""
    quiet_paddle()
    try:
        began = time.perf_counter()
        call = case.prepare(*case.arguments)
        call()
        load = (time.perf_counter() - began) * 1000
        _times(call, WARM_UP - 1, seconds)
        pipe.send((load, peak_memory(), getattr(call, "note", "")))
        while True:
            pipe.recv()
            pipe.send((_times(call, runs, seconds), peak_memory()))
    except UserError as error:
        pipe.send(error)
    except ModuleNotFoundError as error:
        if missing.line(error) is None:
            raise
        pipe.send(UserError(missing.line(error)))
    except EOFError:
        return


def _times(call, runs, seconds):
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < runs and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times


def peak_memory():
    """Return the most memory that this process ever held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count what the parent held when it started this process
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    # in bytes on macOS, the one other system with this call on which Paddle runs
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def summary(medians):
    """Return the median, the least and the greatest of the rounds' medians."""
    return statistics.median(medians), min(medians), max(medians)


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
