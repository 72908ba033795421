"""`Runner`: trials in processes of their own, several at a time, recorded as they begin and end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
from typing import Callable, Iterator, NamedTuple, Sequence

from ..base.call import CallProcess
from ..base.processes import ProcessEndedError
from ..base.signals import StopSignals
from ..config import dump_config, load_config
from ..engine.log import LOGGER
from ..errors import UserError
from .median import falls_behind
from .settings import override
from .training import course, in_folder, train
from .trials import Record, Row, Trial

_LOOK_SECONDS = 0.2  # between two looks at signals and at trials that fall behind

Environment = dict[str, str]


class End(NamedTuple):
    """End of a trial, see `Row`; the state is running where it was stopped."""

    state: str
    score: float | None = None
    reason: str = ""


class Runner:
    """Runs the trials of a search in `folder`, one at a time for each of the environments in `slots`.

    `times` is the number of trainings of a trial, with successive seeds, whose mean score counts; `metric` names the
    score. `on_end` is called after each trial.
    """

    def __init__(
        self,
        folder: str,
        record: Record,
        slots: Sequence[Environment],
        times: int,
        metric: str,
        on_end: Callable[[], object],
    ) -> None:
        self.folder, self.record, self.metric = folder, record, metric
        self._slots, self._times, self._on_end = slots, times, on_end
        self._first: dict[str, str] = {}  # {config as YAML: the first trial of it}
        self._processes: dict[str, CallProcess] = {}
        self._stopping = False
        self._pruned: set[str] = set()

    def run(self, following: Callable[[], Trial | None], prune: bool = False) -> None:
        """Run the trials that `following` returns until it returns None; it is asked as soon as a slot is free.

        Those that ended in an earlier search are passed over. With `prune` a trial that falls behind is ended.

        Raises KeyboardInterrupt: Ctrl-C or SIGTERM; the trials at hand have saved their state then.
        """
        free, running, more = list(self._slots), {}, True
        with StopSignals() as stop, self._threads() as pool:
            while True:
                while more and free and stop.signal is None:
                    trial = self._next(following)
                    more = trial is not None
                    if trial is not None:
                        environment = free.pop()
                        future = pool.submit(self._train, self._begin(trial), environment)
                        running[future] = trial.name, environment
                if not running:
                    break
                names = [name for name, _ in running.values()]
                if stop.signal is not None:
                    self._stopping = True
                    self._end(names)
                elif prune:
                    self._prune(names)
                done, _ = concurrent.futures.wait(running, _LOOK_SECONDS, concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    name, environment = running.pop(future)
                    free.append(environment)
                    self._ended(name, future.result())
        if stop.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _threads(self) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
        """Give threads that wait for processes, which are killed where the block ends by an exception."""
        with concurrent.futures.ThreadPoolExecutor(len(self._slots)) as pool:
            try:
                yield pool
            except BaseException:
                self._stopping = True
                self._end(list(self._processes), at_once=True)
                raise

    def _next(self, following: Callable[[], Trial | None]) -> Trial | None:
        """Return the next trial to train; those that ended are passed over, repetitions of others get their score."""
        while (trial := following()) is not None:
            kept = self.record.rows.get(trial.name)
            config = dump_config(load_config(trial.file, trial.overrides))
            first = self._first.setdefault(config, trial.name)
            if kept is not None and kept.ended:
                continue
            other = self.record.rows.get(first)
            if other is None or other.trial.name == trial.name or not other.ended:
                return trial
            LOGGER.info("trial %s: the same training as %s", trial.name, first)
            same = Row(trial, other.state, other.folder, other.score, other.reason or f"the same as {first}")
            self.record.keep(same)
            self._on_end()
        return None

    def _begin(self, trial: Trial) -> Trial:
        before = self.record.rows.get(trial.name)
        LOGGER.info("trial %s %s: %s", trial.name, "goes on" if before else "begins", trial.text)
        self.record.keep(before or Row(trial, "running", trial.name))
        return trial

    def _ended(self, name: str, end: End) -> None:
        row = self.record.rows[name]
        if end.state == "running":
            LOGGER.info("trial %s: stopped", name)
            return
        row.state, row.score, row.reason = end
        self.record.keep(row)
        shown = row.reason if row.score is None else f"{self.metric} {row.score:.5f}"
        LOGGER.log(
            logging.WARNING if row.state == "failed" else logging.INFO,
            "trial %s: %s: %s",
            name,
            row.state,
            shown,
        )
        self._on_end()

    def _end(self, names: Sequence[str], at_once: bool = False) -> None:
        for process in filter(None, map(self._processes.get, names)):
            process.end(at_once)

    def _prune(self, names: Sequence[str]) -> None:
        complete = [row for row in self.record.rows.values() if row.state == "complete"]
        courses = [self._course(folder) for folder in dict.fromkeys(row.folder for row in complete)]
        for name in names:
            if name in self._pruned or falls_behind(self._course(name), courses):
                self._pruned.add(name)
                self._end([name])

    def _course(self, name: str) -> dict[int, float]:
        return course(os.path.join(self.folder, name), self.metric)

    def _train(self, trial: Trial, environment: Environment) -> End:
        """Train a trial, in a thread of its own, and wait for its end."""
        scores = []
        for folder, seed in self._trainings(trial):
            overrides = [*trial.overrides, *seed, *in_folder(os.path.join(self.folder, folder))]
            try:
                score = self._score(trial, overrides, environment)
            except UserError as problem:
                return End("running") if self._stopping else End("failed", None, str(problem))
            except ProcessEndedError as problem:
                if self._stopping:
                    return End("running")
                return End("failed", None, f"its process ended (exit {problem.code}): {problem}")
            if score is None:  # ended by SIGTERM
                best = max(self._course(folder).values(), default=None)
                return End("pruned", best) if trial.name in self._pruned else End("running")
            scores.append(score)
        return End("complete", sum(scores) / len(scores))

    def _score(self, trial: Trial, overrides: Sequence[str], environment: Environment) -> float | None:
        with contextlib.closing(CallProcess(environment)) as process:
            self._processes[trial.name] = process
            try:
                if self._stopping:
                    return None
                process.start(train, trial.file, overrides)
                return process.result()
            finally:
                del self._processes[trial.name]

    def _trainings(self, trial: Trial) -> Iterator[tuple[str, list[str]]]:
        """Yield the (folder, override of the seed) of each training of a trial."""
        yield trial.name, []
        seed = load_config(trial.file, trial.overrides).Global.seed
        for number in range(2, self._times + 1):
            yield f"{trial.name}_{number}", [override("Global.seed", seed + number - 1)]
