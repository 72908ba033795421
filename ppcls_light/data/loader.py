"""Batches in a reproducible order, read by the calling process or by workers.

The batches of an epoch depend on the seed, the epoch and the rank only: any number of workers gives the same
bits.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import math
import os
import queue
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import MappingProxyType
from typing import Any, Callable, Generator, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from ..base.pool import Pool
from ..errors import DataError
from . import shared
from .dataset import ImageDataset
from .mix import BatchTransforms
from .opencv import use_one_thread
from .sampler import BatchSampler, MultiScaleSampler, Plan

logger = logging.getLogger(__name__)

MAX_BAD = 0.001
MAX_BAD_IN_A_ROW = 20
MAX_NAMED = 20  # images of an epoch that changed since the last one; the rest is counted
MAX_THREADS = 4  # that read in the caller's process
PREFETCH = 2  # batches per worker: one in the making, one ready


class Batch(NamedTuple):
    """N samples."""

    images: np.ndarray  # float32 (N, C, H, W); (0, 0, 0, 0) when no image of the batch could be read
    labels: np.ndarray  # int64 (N,), or float32 (N, K) of tags and after batch transforms
    indices: np.ndarray  # int64 (N,), the samples' places in the list
    number: int = 0  # of the batch in its epoch, from 0; `epoch(epoch, start=number + 1)` goes on after it
    failed: tuple[tuple[int, str], ...] = ()  # (index, reason) of images that could not be read
    changed: tuple[int, ...] = ()  # indices of images whose files are others than in an earlier epoch
    answers: Mapping[str, np.ndarray] = MappingProxyType({})  # of teachers, {name: float32 (N, D)}


# (indices of images, epoch) -> answers of teachers to these images as they are in that epoch
Ask = Callable[[Sequence[int], int], "dict[str, np.ndarray]"]


class BatchLoader:
    """Read the batches of a sampler, ahead of the caller when there are workers.

    Workers are started at the first epoch; `close()`, the end of a `with` block or of the loader ends them.

    Args:
        num_workers: processes that read; 0 reads in the caller's process, with up to 4 threads.
        on_bad: fate of an image that cannot be read. "skip" (training): it is named in the log and left out, its
            batch is smaller. "raise" (evaluation): DataError. No other image ever takes its place.
        max_bad: "skip" stops with a DataError beyond this share of the dataset in one epoch on one rank
            (rounded up to whole images), and at 20 bad images in a row.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        sampler: BatchSampler | MultiScaleSampler,
        num_workers: int = 0,
        batch_transforms: BatchTransforms | None = None,
        on_bad: str = "skip",
        max_bad: float = MAX_BAD,
    ) -> None:
        if on_bad not in ("skip", "raise"):
            raise ValueError(f"on_bad is skip or raise, not {on_bad!r}")
        self.dataset, self.sampler, self.num_workers = dataset, sampler, num_workers
        self.on_bad, self.max_bad = on_bad, max_bad
        self.bad_count = self._bad_in_a_row = 0
        self._reader = _Reader(dataset, batch_transforms)
        self._workers: _Workers | None = None

    def ask(self, teachers: Ask) -> None:
        """Let each process that reads ask `teachers` about its batches, from the next epoch on."""
        self.close()
        self._reader.ask = teachers

    def __len__(self) -> int:
        return len(self.sampler)

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; the next epoch starts new ones."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of `epoch` in order, beginning with batch number `start`.

        A list, or an image, that is another than in an earlier epoch is named in the log: results stand for the files
        as they were read, and a resumed run may end elsewhere.

        Raises DataError: a bad image (see `on_bad`, `max_bad`), images of different shapes in one batch, or a worker
        that died.
        """
        self.bad_count = self._bad_in_a_row = changed = 0
        for path in self.dataset.image_list.changes():
            logger.warning("%s changed since it was read; this run goes on with what it has read", path)
        plans = list(enumerate(self.sampler.batches(epoch)))[start:]
        with contextlib.closing(self._read(plans, epoch)) as batches:
            for _, plan in plans:
                batch = next(batches)
                self._judge(batch, plan.indices)
                for index in batch.changed[: max(0, MAX_NAMED - changed)]:
                    logger.warning("%s changed since an earlier epoch", self.dataset.image_list.path(index))
                changed += len(batch.changed)
                if len(batch.indices):
                    yield batch
        if changed > MAX_NAMED:
            logger.warning("... and %d more images changed since an earlier epoch", changed - MAX_NAMED)

    def _read(self, plans: list[tuple[int, Plan]], epoch: int) -> Generator[Batch, None, None]:
        """Yield a Batch for each (number, Plan) of `plans`, whatever became of its images."""
        if self.num_workers == 0:
            # Decoding, resizing and look-ups hold no lock of Python's, so threads share them well.
            with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
                for number, plan in plans:
                    batch = self._reader.read(number, plan, epoch, threads.map)
                    yield batch._replace(images=self._reader.finish(batch.images))
            return
        if self._workers is None:
            self._workers = _Workers(self.num_workers, self._reader)
        try:
            yield from self._workers.read(plans, epoch)
        except BrokenProcessPool:
            self.close()
            raise DataError(
                "a data loading worker died: out of memory, or the script that was started has no "
                "`if __name__ == '__main__':`; lower num_workers (0 reads in the main process)"
            ) from None

    def _judge(self, batch: Batch, wanted: np.ndarray) -> None:
        """Log the unreadable images of a batch, or raise DataError, by `on_bad` and `max_bad`."""
        if self.on_bad == "raise" and batch.failed:
            raise DataError(batch.failed[0][1])
        allowed, reasons = math.ceil(self.max_bad * len(self.dataset)), dict(batch.failed)
        for index in wanted.tolist():
            if index not in reasons:
                self._bad_in_a_row = 0
                continue
            self.bad_count += 1
            self._bad_in_a_row += 1
            logger.warning("image left out: %s", reasons[index])
            if self.bad_count > allowed or self._bad_in_a_row == MAX_BAD_IN_A_ROW:
                raise DataError(
                    f"{self.bad_count} images of this epoch cannot be read, {self._bad_in_a_row} of them in a "
                    f"row; max_bad {self.max_bad:g} allows {allowed} of {len(self.dataset)}, and fewer than "
                    f"{MAX_BAD_IN_A_ROW} in a row. The last: {reasons[index]}. Repair the files, delete their "
                    f"lines, or raise loader.max_bad"
                )
        if not len(batch.indices) and self.sampler.world_size > 1:
            # The other ranks have this batch and would wait for this rank for ever.
            raise DataError(
                f"no image of a batch can be read; the last: {batch.failed[-1][1]}; repair the files"
            )


class _Workers:
    """Processes that read batches ahead, and pieces of memory for their images, where the system has such.

    It is closed, too, when it is collected.
    """

    def __init__(self, count: int, reader: _Reader) -> None:
        self._reader, self._ahead = reader, PREFETCH * count
        self._memories = [shared.SharedMemory() for _ in range(self._ahead)] if shared.available() else []
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(len(self._memories)):
            self._free.put(place)
        pool = self._pool = Pool(count, _start_worker, reader, self._memories)
        # Holds the pool: one that is collected while the process ends races with Python's own clean-up.
        self.close = weakref.finalize(self, pool.shutdown, wait=True, cancel_futures=True)

    def read(self, plans: list[tuple[int, Plan]], epoch: int) -> Iterator[Batch]:
        waiting: collections.deque[tuple[Future, int | None]] = collections.deque()
        try:
            for number, plan in plans:
                place = None if self._free.empty() else self._free.get()
                waiting.append((self._pool.submit(_read_in_worker, number, plan, epoch, place), place))
                if len(waiting) == self._ahead:
                    yield self._fetch(*waiting.popleft())
            while waiting:
                yield self._fetch(*waiting.popleft())
        finally:
            # An epoch that is left early: a batch that a worker is already at goes to its place all the same. A call
            # that held this object could be its last user, in a thread of the pool that cannot wait for itself.
            for future, place in waiting:
                future.cancel()
                future.add_done_callback(functools.partial(_give_back, self._free, place))

    def _fetch(self, future: Future, place: int | None) -> Batch:
        """Return the finished Batch of `future`, whose images a worker put in `place`, if it was given one."""
        try:
            batch, kind = future.result()
            images = batch.images
            if place is not None:
                images = self._memories[place].array(*kind)
                if images.dtype != np.uint8:
                    images = images.copy()
            return batch._replace(images=self._reader.finish(images))
        finally:
            _give_back(self._free, place)


def _give_back(free: queue.SimpleQueue[int], place: int | None, _: Future | None = None) -> None:
    if place is not None:
        free.put(place)


class _Reader:
    """Reader of one batch; the part of a loader that travels to its workers.

    `read` does all of the work but the normalisation where that comes last: `finish` does it in the process
    of the caller, in little more time than a copy takes, and a quarter of the bytes have to get there.
    """

    def __init__(self, dataset: ImageDataset, batch_transforms: BatchTransforms | None) -> None:
        self.dataset, self.batch_transforms = dataset, batch_transforms
        self.ask: Ask | None = None

    def read(self, number: int, plan: Plan, epoch: int, each: Callable[..., Iterator[Any]] = map) -> Batch:
        """Return batch `number` of `epoch`, made of the readable images of `plan`; `finish` completes its images.

        `each` calls a function for each of a list, in any order, and returns the results in the order of the list.
        """

        def sample(index: int) -> tuple[np.ndarray, int] | str:
            try:
                return self.dataset.prepare(index, epoch, plan.size)
            except DataError as error:
                return str(error)

        indices = plan.indices.tolist()
        samples = list(zip(indices, each(sample, indices)))
        failed = tuple((index, reason) for index, reason in samples if isinstance(reason, str))
        read = [(index, *found) for index, found in samples if not isinstance(found, str)]
        kept = np.array([index for index, _, _ in read], np.int64)
        labels = np.array([label for _, _, label in read], self.dataset.image_list.label_type)
        changed = tuple(filter(self.dataset.changed, indices))
        images = self._stack([image for _, image, _ in read], kept.tolist())
        answers = self.ask(kept.tolist(), epoch) if self.ask is not None and read else {}
        if self.batch_transforms is not None and read:
            # The trailing 1 tells this stream from the one of its first sample.
            rng = np.random.default_rng([self.dataset.seed, epoch, int(plan.indices[0]), 1])
            images, labels = self.batch_transforms(self.finish(images), labels, rng)
        return Batch(images, labels, kept, number, failed, changed, answers)

    def finish(self, images: np.ndarray) -> np.ndarray:
        """Return the images of a batch that was read as float32 (N, C, H, W)."""
        return self.dataset.transforms.finish(images)

    def _stack(self, images: list[np.ndarray], indices: list[int]) -> np.ndarray:
        for image, index in zip(images, indices):
            if image.shape != images[0].shape:
                path, first = self.dataset.image_list.path(index), self.dataset.image_list.path(indices[0])
                shape, expected = (self.finish(one[None]).shape[1:] for one in (image, images[0]))
                raise DataError(
                    f"{path} becomes {shape} but {first} {expected} (C, H, W); end the transforms at one size, "
                    f"with CropImage, RandCropImage or ResizeImage.size"
                )
        return np.stack(images) if images else np.zeros((0, 0, 0, 0), np.float32)


_worker_reader: _Reader
_worker_memories: list[shared.SharedMemory]


def _start_worker(reader: _Reader, memories: list[shared.SharedMemory]) -> None:
    global _worker_reader, _worker_memories
    _worker_reader, _worker_memories = reader, memories
    use_one_thread()


def _read_in_worker(number: int, plan: Plan, epoch: int, place: int | None) -> tuple[Batch, tuple]:
    """Return a batch, without its images where they are in `place`, and their shape and type."""
    batch = _worker_reader.read(number, plan, epoch)
    kind = batch.images.shape, batch.images.dtype.str
    if place is not None:
        _worker_memories[place].array(*kind)[...] = batch.images
        batch = batch._replace(images=batch.images[:0])
    return batch, kind
