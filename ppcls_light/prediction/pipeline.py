"""Parallel prediction: reading ahead in threads (`read_ahead`), or workers (`shared_out`).

Reading, decoding and resizing hold no lock of Python's, so threads share them well. A light network gains little from a
second core: twice the images per second come from as many workers as there are cores, each with one thread of the
network and the whole way from file to row. They are threads where the engine lets go of that lock, too. Paddle's run
holds it, so its workers are processes.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

import numpy as np

from ..base.machine import physical_cores
from ..data.opencv import use_one_thread
from ..errors import DeviceError
from ..runtime.engines import ENGINES
from ..runtime.options import EngineOptions
from .items import Item
from .results import Row

READING_THREADS = 4  # at most
AHEAD = 2  # batches: one in the making, one ready
MOST_THREADS = 4  # with the whole way each; a tenth of it holds Python's lock, for which more would wait

T = TypeVar("T")


class BatchPredictor(Protocol):
    """The side of a `Predictor` that processes need."""

    batch_size: int

    @property
    def engine_options(self) -> EngineOptions: ...

    def predict_batch(self, images: Sequence[Item]) -> list[Row]: ...

    def remake(self, cpu_threads: int) -> Callable[[], BatchPredictor]: ...


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` of any iterable, the last one shorter; nothing is taken before it is needed."""
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def read_ahead(
    images: Iterable[T], prepare: Callable[[T], np.ndarray], batch_size: int
) -> Generator[tuple[list[T], list[Callable[[], np.ndarray]]], None, None]:
    """Yield ([image], [function that returns its `prepare(image)` or raises]) of each batch, in order.

    Up to 2 batches more than were asked for are taken from `images` and prepared by threads.
    """
    batches = in_batches(images, batch_size)
    first = list(itertools.islice(batches, AHEAD))
    if sum(map(len, first)) == 1:
        (batch,) = first
        yield batch, [functools.partial(prepare, batch[0])]
        return
    threads = _reading_threads(os.getpid())
    waiting: deque[tuple[list[T], list[Future[np.ndarray]]]] = deque()
    try:
        for batch in itertools.chain(first, batches):
            waiting.append((batch, [threads.submit(prepare, image) for image in batch]))
            if len(waiting) > AHEAD:
                yield _results(*waiting.popleft())
        while waiting:
            yield _results(*waiting.popleft())
    finally:
        left = [future for _, futures in waiting for future in futures]
        wait(future for future in left if not future.cancel())


def _results(
    batch: list[T], futures: list[Future[np.ndarray]]
) -> tuple[list[T], list[Callable[[], np.ndarray]]]:
    return batch, [future.result for future in futures]


@functools.cache
def _reading_threads(process: int) -> ThreadPoolExecutor:
    """Return the threads that read for all predictors of this process; a forked one has none of its parent's.

    They stay: with threads for every call, the memory that libraries keep per thread was 25 MiB after 100,000 images.
    """
    return ThreadPoolExecutor(min(READING_THREADS, os.cpu_count() or 1), "read_ahead")


class Workers:
    """Copies of a predictor that share the cores; `close()`, or leaving a `with` block, ends them."""

    def __init__(self, number: int, pool: Executor, predict: Callable[[list[Item]], list[Row]]):
        self._number, self._pool, self._predict = number, pool, predict
        self._ready: Future[list[Row]] | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, after the batch that each is at."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """True once a worker is ready; the first access starts them."""
        if self._ready is None:
            self._ready = [self._pool.submit(self._predict, []) for _ in range(self._number)].pop()
        return self._ready.done()

    def predict(self, batches: Iterable[list[Item]]) -> Iterator[list[Row]]:
        """Yield the rows of each of `batches`, lists of images for `Predictor.predict`, in order.

        Up to 2 batches per worker are taken from `batches` before their turn.

        Raises DeviceError: a process died.
        """
        waiting: deque[Future[list[Row]]] = deque()
        try:
            for batch in batches:
                waiting.append(self._pool.submit(self._predict, batch))
                if len(waiting) > AHEAD * self._number:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenExecutor:
            raise DeviceError(
                "a process that classifies images died: out of memory, or the script that was started has no "
                "`if __name__ == '__main__':`; use fewer workers (0: this process alone)"
            ) from None


class Processes(Workers):
    """Workers in processes of their own, each with its copy of the network."""

    def __init__(self, predictor: BatchPredictor, number: int):
        from ..base.pool import Pool  # one image needs none, and multiprocessing takes 4 ms to import

        make = predictor.remake(_share_of_cores(predictor, number))
        super().__init__(number, Pool(number, _start_worker, make), _predict)


class Threads(Workers):
    """Workers in threads of this process, each with its copy of the network.

    A copy that they share hands each batch to a thread of the engine's own and back, which costs OpenVINO a twentieth.
    """

    def __init__(self, predictor: BatchPredictor, number: int):
        make, own = predictor.remake(_share_of_cores(predictor, number)), threading.local()

        def predict(batch: list[Item]) -> list[Row]:
            if not hasattr(own, "predictor"):
                own.predictor = make()
            return own.predictor.predict_batch(batch)

        super().__init__(number, ThreadPoolExecutor(number, "predict"), predict)


def _share_of_cores(predictor: BatchPredictor, number: int) -> int:
    cores = physical_cores()
    return max(1, min(predictor.engine_options.cpu_threads or cores, cores) // number)


def shared_out(predictor: BatchPredictor, images: Iterable[Item], workers: int) -> Iterator[list[Row]]:
    """Yield the rows of `images` from `workers`; `predictor` classifies until the first is ready."""
    batches = in_batches(images, predictor.batch_size)
    threads = ENGINES[predictor.engine_options.engine].shares_time and workers <= MOST_THREADS
    with (Threads if threads else Processes)(predictor, workers) as group:
        for batch in batches:
            yield predictor.predict_batch(batch)
            if group.ready:
                break
        yield from group.predict(batches)


_make: Callable[[], BatchPredictor]


def _start_worker(make: Callable[[], BatchPredictor]) -> None:
    global _make
    _make = make
    use_one_thread()


@functools.cache
def _predictor() -> BatchPredictor:
    # Not in `_start_worker`: an error there would reach nobody.
    return _make()


def _predict(batch: list[Item]) -> list[Row]:
    return _predictor().predict_batch(batch)
