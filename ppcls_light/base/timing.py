"""Benchmark timing under background load: each case has its own process, and the cases alternate.

Other load, throttling and warm-up then meet all cases alike, no case inherits another's threads or caches, and one that
ends its process ends nothing else. Not `multiprocessing`: that would run a caller's script, which need not be prepared
for it, once more.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..errors import UserError
from .call import CallProcess
from .machine import peak_memory
from .processes import ProcessEndedError

# OpenMP's threads spin for 0.2 s after their last work before they sleep (KMP_BLOCKTIME); until then they would take a
# core from the case that is next. Callers sleep for so long before a turn.
SETTLE_SECONDS = 0.2

_WARM_UP = 4
_WARM_UP_SECONDS = 3.0


class Spread(NamedTuple):
    """The median, the least and the greatest of some rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Observation:
    """A case as it was timed."""

    load: float  # milliseconds from the start of preparing, imports included, to the end of the first call
    memory: float  # the most that the process held at once, MiB, the interpreter included
    note: Any  # attribute `note` of the call, None where it has none
    turns: List[List[float]] = field(default_factory=list)  # milliseconds of the calls, a list per turn

    @property
    def medians(self) -> List[float]:
        """Median of each turn, milliseconds."""
        return [statistics.median(turn) for turn in self.turns]

    @property
    def p90(self) -> float:
        """90th percentile of all calls, milliseconds; interpolated as numpy does."""
        times = [time for turn in self.turns for time in turn]
        return statistics.quantiles(times, n=10, method="inclusive")[8] if len(times) > 1 else times[0]


def time_calls(call: Callable[[], object], runs: float = math.inf, seconds: float = math.inf) -> List[float]:
    """Return the milliseconds of each of `runs` calls; fewer, but one at least, where they take over `seconds`."""
    times: List[float] = []
    end = time.perf_counter() + seconds
    while not times or (len(times) < runs and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times


class TimedProcess:
    """A process of its own in which the call that `prepare(*arguments)` returns is timed.

    `prepare` is a function in a module that can be imported by its name. An answer may take `patience` seconds, None:
    any; a call that hangs must not stop the others. `environment` has variables to set in addition.
    """

    def __init__(
        self,
        prepare: Callable[..., Callable[..., object]],
        *arguments: Any,
        patience: float | None = None,
        environment: Dict[str, str] | None = None,
    ) -> None:
        self._process = CallProcess(environment, patience)
        self._process.start(_prepare, prepare, arguments)

    def prepared(self) -> Observation:
        """Wait until the call is prepared. Raises UserError: it cannot be, with the reason."""
        self._seen = Observation(*self._result())
        return self._seen

    def turn(self, runs: float = math.inf, seconds: float = math.inf, *arguments: Any) -> List[float]:
        """Time calls as `time_calls` does, after one that does not count, for the observation. Raises UserError.

        The prepared call gets `arguments`.
        """
        self._process.start(_turn, runs, seconds, arguments)
        times, self._seen.memory = self._result()
        self._seen.turns.append(times)
        return times

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _result(self) -> Any:
        try:
            return self._process.result()
        except ProcessEndedError as end:
            raise UserError(f"its process ended ({end.code}): {end}") from None


_call: Callable[..., object]  # in the process of a `TimedProcess`


def _prepare(
    prepare: Callable[..., Callable[..., object]], arguments: Sequence[Any]
) -> Tuple[float, float, Any]:
    global _call
    began = time.perf_counter()
    _call = prepare(*arguments)
    _call()
    load = (time.perf_counter() - began) * 1000
    time_calls(_call, _WARM_UP - 1, _WARM_UP_SECONDS)
    return load, peak_memory(), getattr(_call, "note", None)


def _turn(runs: float, seconds: float, arguments: Sequence[Any]) -> Tuple[List[float], float]:
    call = functools.partial(_call, *arguments)
    call()  # wakes threads up and fills the caches, which another case has had meanwhile
    return time_calls(call, runs, seconds), peak_memory()
