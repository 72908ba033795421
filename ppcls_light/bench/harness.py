"""Cases of the benchmarks, each timed in a process of its own and in turns with the others, and their tables."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Dict, Hashable, List, Mapping, Tuple

from .. import cli
from ..base.machine import physical_cores, processor_name
from ..base.tables import markdown_table, write_csv
from ..base.timing import SETTLE_SECONDS, Observation, TimedProcess
from ..errors import UserError

# {name: (function that returns the call to be timed, *its arguments)}; the function as of `TimedProcess`.
Cases = Mapping[Any, Tuple[Any, ...]]

TIMES = ("median ms", "fastest round", "slowest round")  # of a `Spread`


def tool_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows `description` as it stands."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_turns(parser: argparse.ArgumentParser, rounds: int = 7, runs: int | None = 30) -> None:
    """Add `--rounds`, `--csv` and, unless there are no `runs`, `--runs`."""
    parser.add_argument(
        "--rounds", type=cli.positive, default=rounds, help=f"turns per case (default {rounds})"
    )
    if runs:
        parser.add_argument(
            "--runs", type=cli.positive, default=runs, help=f"calls per turn (default {runs})"
        )
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there")


def measure(cases: Cases, rounds: int, runs: int) -> Dict[Hashable, List[float]]:
    """Return {name: the median milliseconds of each of `rounds` turns of `runs` calls}. Raises UserError."""
    return {name: seen.medians for name, seen in observe(cases, rounds, runs).items()}


def observe(
    cases: Cases,
    rounds: int,
    runs: int,
    seconds: float = math.inf,
    refused: Dict[Hashable, str] | None = None,
) -> Dict[Hashable, Observation]:
    """Time the cases in turns; a turn ends after `seconds`, though never before its first call.

    `refused` gets {name: message} of the cases that cannot be run, which are left out then. Raises UserError: a case
    cannot be run, and there is no `refused` to say so.
    """
    seen = {}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, case in cases.items():
            with noting(refused, name):
                process = TimedProcess(*case)
                stack.callback(process.close)
                seen[name] = process.prepared()
                processes[name] = process
        for _ in range(rounds):
            for name, process in list(processes.items()):
                with noting(refused, name):
                    time.sleep(SETTLE_SECONDS)
                    process.turn(runs, seconds)
                    continue
                del processes[name]
    return {name: seen[name] for name in processes}


@contextlib.contextmanager
def noting(refused: Dict[Hashable, str] | None, name: Hashable) -> Iterator[None]:
    """Put the message of a UserError into `refused`; where that is None, raise it with the name of the case."""
    try:
        yield
    except UserError as error:
        if refused is None:
            case = ", ".join(map(str, name)) if isinstance(name, tuple) else name
            raise UserError(f"{case}: {error}") from error
        refused[name] = str(error)


def report(
    arguments: argparse.Namespace,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    settings: Dict[str, Any],
) -> None:
    """Print the rows under their settings, and write both to `--csv` where it is given."""
    print(f"\n{', '.join(f'{name} {value}' for name, value in settings.items() if value != '')}\n")
    print(markdown_table(columns, rows), end="")
    if arguments.csv:
        write_csv(arguments.csv, [*columns, *settings], [[*row, *settings.values()] for row in rows])


def conditions(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Return the settings that times of a network depend on beside the tool's own."""
    return {"rounds": arguments.rounds, "runs": arguments.runs, "environment": environment()}


def environment(onednn: bool = True) -> str:
    """Return the machine and Paddle, as one line."""
    import paddle

    return f"{machine()}, Paddle {paddle.__version__}, oneDNN {'on' if onednn else 'off'}"


def machine() -> str:
    """Return the processor and its cores, as one line."""
    return f"{processor_name()}, {physical_cores()} physical cores"
