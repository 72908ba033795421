"""Batches in a reproducible order, read by the calling process or by workers.

What an epoch yields depends on the seed, the epoch and the rank only: any number of workers gives the same
bits.
"""

import collections
import contextlib
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, Tuple

import numpy as np

from ..errors import DataError
from . import decode

logger = logging.getLogger(__name__)

MAX_BAD = 0.001
MAX_BAD_IN_A_ROW = 20


class Batch(NamedTuple):
    """N samples.

    Attributes:
        images: float32 (N, C, H, W); (0, 0, 0, 0) when no image of the batch could be read.
        labels: int64 (N,), or float32 (N, K) after batch transforms.
        indices: int64 (N,), the samples' places in the list.
        number: of the batch in its epoch, from 0; `epoch(epoch, start=number + 1)` goes on after it.
        read_seconds: how long the caller waited for it.
        failed: (index, reason) of images that could not be read (on_bad="record").
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    number: int = 0
    read_seconds: float = 0.0
    failed: Tuple[Tuple[int, str], ...] = ()


class BatchLoader:
    """Read the batches of a sampler, ahead of the caller when there are workers.

    Workers are started at the first epoch and serve the following ones; `close()` (or leaving a `with`
    block, or dropping the loader) ends them.

    Args:
        dataset: an `ImageDataset`.
        sampler: a `BatchSampler`.
        num_workers: processes that read; 0 reads in the caller.
        batch_transforms: a `BatchTransforms`, or None.
        on_bad: what becomes of an image that cannot be read. "skip" (training): it is named in the log and
            left out, its batch is smaller. "raise" (evaluation): DataError. "record" (inference): it is
            listed in `Batch.failed`. No other image ever takes its place.
        max_bad: "skip" stops with a DataError beyond this share of the dataset in one epoch on one rank
            (rounded up to whole images), and at 20 bad images in a row.

    Attributes:
        bad_count: number of bad images in the current epoch.
    """

    def __init__(
        self, dataset, sampler, num_workers=0, batch_transforms=None, on_bad="skip", max_bad=MAX_BAD
    ):
        if on_bad not in ("skip", "raise", "record"):
            raise ValueError(f"on_bad is skip, raise or record, not {on_bad!r}")
        self.dataset, self.sampler, self.num_workers = dataset, sampler, num_workers
        self.on_bad, self.max_bad = on_bad, max_bad
        self.bad_count = 0
        self._bad_in_a_row = 0
        self._reader = _Reader(dataset, batch_transforms)
        self._pool = None

    def __len__(self):
        return len(self.sampler)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """End the workers; the next epoch starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._shutdown()

    def epoch(self, epoch, start=0):
        """Yield the batches of `epoch` in order, beginning with batch number `start`.

        Raises:
            DataError: a bad image (see `on_bad`, `max_bad`), images of different shapes in one batch, or a
                worker that died.
        """
        self.bad_count = self._bad_in_a_row = 0
        plans = list(enumerate(self.sampler.batches(epoch)))[start:]
        with contextlib.closing(self._read(plans, epoch)) as batches:
            for _, plan in plans:
                began = time.perf_counter()
                batch = next(batches)
                seconds = time.perf_counter() - began
                self._judge(batch, plan.indices)
                if len(batch.indices) or self.on_bad == "record":
                    yield batch._replace(read_seconds=seconds)

    def _read(self, plans, epoch):
        """Yield a Batch for each (number, Plan) of `plans`, whatever became of its images."""
        if self.num_workers == 0:
            for number, plan in plans:
                yield self._reader.read(number, plan, epoch)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.num_workers, multiprocessing.get_context("spawn"), _start_worker, (self._reader,)
            )
            # Holds the pool: one that is collected while the process ends races with Python's own clean-up.
            self._shutdown = weakref.finalize(self, self._pool.shutdown, wait=True, cancel_futures=True)
        waiting = collections.deque()
        try:
            for number, plan in plans:
                with _interrupts_held():
                    waiting.append(self._pool.submit(_read_in_worker, number, plan, epoch))
                # Two batches a worker: one in the making, one ready.
                if len(waiting) == 2 * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            self.close()
            raise DataError(
                "a data loading worker died: out of memory, or the script that was started has no "
                "`if __name__ == '__main__':`; lower num_workers (0 reads in the main process)"
            ) from None
        finally:
            for future in waiting:
                future.cancel()

    def _judge(self, batch, wanted):
        """Apply `on_bad` to a batch made from the indices `wanted`."""
        if self.on_bad == "record":
            return
        if self.on_bad == "raise" and batch.failed:
            raise DataError(batch.failed[0][1])
        allowed = math.ceil(self.max_bad * len(self.dataset))
        reasons = dict(batch.failed)
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


class _Reader:
    """Reads one batch; the part of a loader that travels to its workers."""

    def __init__(self, dataset, batch_transforms):
        self.dataset = dataset
        self.batch_transforms = batch_transforms

    def read(self, number, plan, epoch):
        """Return batch `number` of `epoch`, made of the readable images of `plan`."""
        images, labels, kept, failed = [], [], [], []
        for index in plan.indices.tolist():
            try:
                image, label = self.dataset.sample(index, epoch, plan.size)
            except DataError as error:
                failed.append((index, str(error)))
            else:
                images.append(image)
                labels.append(label)
                kept.append(index)
        labels, kept = np.array(labels, np.int64), np.array(kept, np.int64)
        if not images:
            return Batch(np.zeros((0, 0, 0, 0), np.float32), labels, kept, number, failed=tuple(failed))
        images = self._stack(images, kept)
        if self.batch_transforms is not None:
            # The trailing 1 tells this stream from the one of its first sample.
            rng = np.random.default_rng([self.dataset.seed, epoch, int(plan.indices[0]), 1])
            images, labels = self.batch_transforms(images, labels, rng)
        return Batch(images, labels, kept, number, failed=tuple(failed))

    def _stack(self, images, indices):
        for image, index in zip(images, indices):
            if image.shape != images[0].shape:
                path, first = self.dataset.image_list.path(index), self.dataset.image_list.path(indices[0])
                raise DataError(
                    f"{path} becomes {image.shape} but {first} {images[0].shape} (C, H, W); end the transforms "
                    f"at one size, with CropImage, RandCropImage or ResizeImage.size"
                )
        return np.stack(images)


@contextlib.contextmanager
def _interrupts_held():
    """Hold Ctrl-C back until the block ends; the workers that `submit` starts inherit that for good.

    Ctrl-C reaches the whole process group. The parent alone answers it, and a worker that is still importing
    must not die of it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_reader = None


def _start_worker(reader):
    global _worker_reader
    _worker_reader = reader
    # Where signals cannot be held back (Windows), this is the earliest that a worker can ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if decode.cv2 is not None:
        decode.cv2.setNumThreads(0)


def _end_with_parent():
    # A killed parent cannot tell its workers to stop: they would wait for work for ever.
    multiprocessing.parent_process().join()
    os._exit(1)


def _read_in_worker(number, plan, epoch):
    return _worker_reader.read(number, plan, epoch)
