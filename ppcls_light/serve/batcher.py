"""Dynamic batching: images of concurrent requests are collected for a few milliseconds and run together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

from ..base.processes import ProcessEndedError
from ..prediction.columns import CLASSES
from .metrics import Metrics
from .remote import ModelOptions, Worker

logger = logging.getLogger(__name__)

# Starts of a worker that fail in a row; another would not cure the cause.
_STARTS = 3


class OverloadedError(Exception):
    """The queue has no room for the images of a request."""


@dataclass(eq=False)
class _Waiting:
    image: bytes
    topk: int | None  # best classes that are asked for, None: an answer of the model's kind
    since: float
    answer: asyncio.Future[tuple[dict[str, Any], dict[str, float]]] = field(repr=False)


class Batcher:
    """A bounded queue of images before a few worker processes.

    A worker that is free takes up to `max_batch` images. It waits for more of them until the oldest has waited
    `max_delay` seconds, so that a lone image is late by that much at most, and under load nobody waits at all: the next
    batch fills while the last one runs. More than `capacity` images that wait are refused.
    """

    def __init__(
        self, model: ModelOptions, workers: int, max_delay: float, capacity: int, metrics: Metrics
    ) -> None:
        self.max_batch, self.max_delay, self.capacity = model.max_batch, max_delay, capacity
        self.loaded: dict[str, Any] = {}  # `Worker.start`'s answer
        self._workers = [Worker(model) for _ in range(workers)]
        self._threads = ThreadPoolExecutor(workers, "worker")
        self._queue: deque[_Waiting] = deque()
        self._arrived, self._full, self._collecting = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._serving = 0
        self._metrics = metrics
        metrics.watch(lambda: len(self._queue), lambda: self._serving)

    @property
    def ready(self) -> bool:
        return self._serving > 0

    async def run(self, announce: Callable[[], object]) -> None:
        """Start the workers and keep them at work until cancelled; `announce` once the first has its network.

        Raises:
            UserError: the model folder or an option is wrong.
            ProcessEndedError: the workers cannot be kept running.
        """
        # The first one alone: it may measure engines, and write the choice that the others then read.
        self.loaded = await self._call(self._workers[0].start)
        announce()
        tasks = [asyncio.create_task(self._attend(w, w is self._workers[0])) for w in self._workers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.stop(for_good=True)
        self._threads.shutdown(wait=True)

    def submit(self, images: Sequence[bytes], topk: int | None) -> list[asyncio.Future]:
        """Queue the bytes of image files, all or none; return a future of each one's (row, times).

        An image whose future is cancelled leaves the queue; if a worker has it, the answer is thrown away.

        Raises OverloadedError: there is no room.
        """
        if len(self._queue) + len(images) > self.capacity:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        items = [_Waiting(image, topk, loop.time(), loop.create_future()) for image in images]
        for item in items:
            item.answer.add_done_callback(functools.partial(self._remove, item))
        self._queue.extend(items)
        self._arrived.set()
        if len(self._queue) >= self.max_batch:
            self._full.set()
        return [item.answer for item in items]

    async def _attend(self, worker: Worker, started: bool) -> None:
        """Serve batches with `worker`, and start it anew when it dies."""
        failures = 0
        while failures < _STARTS:
            try:
                if not started:
                    await self._call(worker.start)
                started, failures = True, 0
                self._serving += 1
                try:
                    while True:
                        await self._serve_batch(worker)
                finally:
                    self._serving -= 1
            except ProcessEndedError as error:
                started, failures = False, failures + 1
                logger.error("a worker died and is started anew: %s", error)
                self._metrics.restarts.inc()
                await self._call(worker.stop)
        raise ProcessEndedError(f"a worker could not be started {failures} times in a row")

    async def _serve_batch(self, worker: Worker) -> None:
        """Collect a batch, run it in `worker` and answer its images."""
        loop = asyncio.get_running_loop()
        batch = await self._collect()
        if not batch:
            return
        begin = loop.time()
        try:
            # Best classes of which there are a few more are cut; an answer of the model's kind is another one.
            for part in ([i for i in batch if i.topk is None], [i for i in batch if i.topk is not None]):
                if part:
                    await self._run(worker, part, begin)
        except ProcessEndedError:
            for item in batch:
                _answer(item, {"error": "the worker of this batch died; send it again", "status": 500}, {})
            raise

    async def _run(self, worker: Worker, batch: list[_Waiting], begin: float) -> None:
        """Answer images that all ask for best classes, or all for none."""
        wanted = [item.topk for item in batch if item.topk is not None]
        images = [item.image for item in batch]
        done = await self._call(worker.classify, images, max(wanted, default=None))
        self._metrics.batch_size.observe(len(batch))
        for item, row in zip(batch, done["rows"]):
            times = {"queue": begin - item.since, "decode": done["decode"], "inference": done["inference"]}
            _answer(item, row, times)

    async def _collect(self) -> list[_Waiting]:
        """Take a batch from the queue: when it is full, or its first image has waited for `max_delay`."""
        # One at a time: two free workers that share the arrivals would both run half a batch.
        async with self._collecting:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            left = self._queue[0].since + self.max_delay - asyncio.get_running_loop().time()
            if len(self._queue) < self.max_batch and left > 0:
                self._full.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._full.wait(), left)
            taken = [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]
            return [item for item in taken if not item.answer.done()]

    def _remove(self, item: _Waiting, _: object) -> None:
        if item in self._queue:  # else a worker has it, or has answered it
            self._queue.remove(item)

    def _call(self, function: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _answer(item: _Waiting, row: dict[str, Any], times: dict[str, float]) -> None:
    if item.answer.done():
        return
    if "error" in row:
        row = {"error": row["error"], "status": row["status"]}
    else:
        if item.topk is not None:
            row = {**row, **{key: row[key][: item.topk] for key in CLASSES}}
        row.pop("file_name", None)  # the client's name for it is known where it is answered
    item.answer.set_result((row, times))
