"""Batches in a reproducible order, read by the calling process or by workers.

What an epoch yields depends on the seed, the epoch and the rank only: any number of workers gives the same
bits.
"""

import collections
import contextlib
import functools
import logging
import math
import os
import queue
import weakref
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, Tuple

import numpy as np

from ..base.processes import Pool
from ..errors import DataError
from . import decode, shared

logger = logging.getLogger(__name__)

MAX_BAD = 0.001
MAX_BAD_IN_A_ROW = 20
MAX_NAMED = 20  # images of an epoch that changed since the last one; the rest is counted
MAX_THREADS = 4  # that read in the caller's process
PREFETCH = 2  # batches a worker: one in the making, one ready


class Batch(NamedTuple):
    """N samples.

    Attributes:
        images: float32 (N, C, H, W); (0, 0, 0, 0) when no image of the batch could be read.
        labels: int64 (N,), or float32 (N, K) after batch transforms.
        indices: int64 (N,), the samples' places in the list.
        number: of the batch in its epoch, from 0; `epoch(epoch, start=number + 1)` goes on after it.
        failed: (index, reason) of images that could not be read and were left out.
        changed: indices of images whose files are others than in an earlier epoch.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    number: int = 0
    failed: Tuple[Tuple[int, str], ...] = ()
    changed: Tuple[int, ...] = ()


class BatchLoader:
    """Read the batches of a sampler, ahead of the caller when there are workers.

    Workers are started at the first epoch and serve the following ones; `close()` (or leaving a `with`
    block, or dropping the loader) ends them.

    Args:
        dataset: an `ImageDataset`.
        sampler: a `BatchSampler`.
        num_workers: processes that read; 0 reads in the caller's process, with up to 4 threads.
        batch_transforms: a `BatchTransforms`, or None.
        on_bad: what becomes of an image that cannot be read. "skip" (training): it is named in the log and
            left out, its batch is smaller. "raise" (evaluation): DataError. No other image ever takes its
            place.
        max_bad: "skip" stops with a DataError beyond this share of the dataset in one epoch on one rank
            (rounded up to whole images), and at 20 bad images in a row.

    Attributes:
        bad_count: number of bad images in the current epoch.
    """

    def __init__(
        self, dataset, sampler, num_workers=0, batch_transforms=None, on_bad="skip", max_bad=MAX_BAD
    ):
        if on_bad not in ("skip", "raise"):
            raise ValueError(f"on_bad is skip or raise, not {on_bad!r}")
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

        A list, or an image, that is another than in an earlier epoch is named in the log: results stand for what was
        read, and a resumed run may end elsewhere.

        Raises:
            DataError: a bad image (see `on_bad`, `max_bad`), images of different shapes in one batch, or a
                worker that died.
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

    def _read(self, plans, epoch):
        """Yield a Batch for each (number, Plan) of `plans`, whatever became of its images."""
        if self.num_workers == 0:
            # What decodes, resizes and looks up holds no lock of Python's, so threads share it well.
            with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
                for number, plan in plans:
                    batch = self._reader.read(number, plan, epoch, threads.map)
                    yield batch._replace(images=self._reader.finish(batch.images))
            return
        if self._pool is None:
            self._start()
        waiting = collections.deque()
        try:
            for number, plan in plans:
                place = self._free_place()
                waiting.append((self._pool.submit(_read_in_worker, number, plan, epoch, place), place))
                if len(waiting) == PREFETCH * self.num_workers:
                    yield self._fetch(*waiting.popleft())
            while waiting:
                yield self._fetch(*waiting.popleft())
        except BrokenProcessPool:
            self.close()
            raise DataError(
                "a data loading worker died: out of memory, or the script that was started has no "
                "`if __name__ == '__main__':`; lower num_workers (0 reads in the main process)"
            ) from None
        finally:
            # An epoch that is left early: what a worker is already at goes to its place all the same.
            for future, place in waiting:
                future.cancel()
                future.add_done_callback(functools.partial(_give_back, self._places, place))

    def _free_place(self):
        try:
            return self._places.get_nowait()
        except queue.Empty:
            return None

    def _start(self):
        count = PREFETCH * self.num_workers
        self._memories = [shared.SharedMemory() for _ in range(count)] if shared.available() else []
        self._places = queue.SimpleQueue()
        for place in range(len(self._memories)):
            self._places.put(place)
        self._pool = Pool(self.num_workers, _start_worker, self._reader, self._memories)
        # Holds the pool: one that is collected while the process ends races with Python's own clean-up.
        self._shutdown = weakref.finalize(self, self._pool.shutdown, wait=True, cancel_futures=True)

    def _fetch(self, future, place):
        """Return the finished Batch of `future`, whose images a worker put in `place`, if it was given one."""
        try:
            batch = future.result()
            images = batch.images
            if place is not None:
                images = self._memories[place].array(*images)
                if images.dtype != np.uint8:
                    images = images.copy()
            return batch._replace(images=self._reader.finish(images))
        finally:
            _give_back(self._places, place)

    def _judge(self, batch, wanted):
        """Apply `on_bad` to a batch made from the indices `wanted`."""
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


def _give_back(places, place, _=None):
    if place is not None:
        places.put(place)


class _Reader:
    """Reads one batch; the part of a loader that travels to its workers.

    `read` does all of the work but the normalisation where that comes last: `finish` does it in the process
    of the caller, in little more time than a copy takes, and a quarter of the bytes have to get there.
    """

    def __init__(self, dataset, batch_transforms):
        self.dataset = dataset
        self.batch_transforms = batch_transforms

    def read(self, number, plan, epoch, each=map):
        """Return batch `number` of `epoch`, made of the readable images of `plan`; `finish` completes its images.

        `each` calls a function for each of a list, in any order, and returns the results in the order of the list.
        """
        images, labels, kept, failed = [], [], [], []
        indices = plan.indices.tolist()
        samples = each(functools.partial(self._sample, epoch, plan.size), indices)
        for index, (image, label, reason) in zip(indices, samples):
            if reason is not None:
                failed.append((index, reason))
            else:
                images.append(image)
                labels.append(label)
                kept.append(index)
        labels, kept = np.array(labels, np.int64), np.array(kept, np.int64)
        notes = {"failed": tuple(failed), "changed": tuple(filter(self.dataset.changed, indices))}
        if not images:
            return Batch(np.zeros((0, 0, 0, 0), np.float32), labels, kept, number, **notes)
        images = self._stack(images, kept)
        if self.batch_transforms is not None:
            # The trailing 1 tells this stream from the one of its first sample.
            rng = np.random.default_rng([self.dataset.seed, epoch, int(plan.indices[0]), 1])
            images, labels = self.batch_transforms(self.finish(images), labels, rng)
        return Batch(images, labels, kept, number, **notes)

    def _sample(self, epoch, size, index):
        """Return (image, label, None), or (None, None, the reason why the image cannot be read)."""
        try:
            return (*self.dataset.prepare(index, epoch, size), None)
        except DataError as error:
            return None, None, str(error)

    def finish(self, images):
        """Return the images of a batch that was read as float32 (N, C, H, W)."""
        return self.dataset.transforms.finish(images)

    def _stack(self, images, indices):
        for image, index in zip(images, indices):
            if image.shape != images[0].shape:
                path, first = self.dataset.image_list.path(index), self.dataset.image_list.path(indices[0])
                shape, expected = (self.finish(one[None]).shape[1:] for one in (image, images[0]))
                raise DataError(
                    f"{path} becomes {shape} but {first} {expected} (C, H, W); end the transforms at one size, "
                    f"with CropImage, RandCropImage or ResizeImage.size"
                )
        return np.stack(images)


_worker_reader = None
_worker_memories = []


def _start_worker(reader, memories):
    global _worker_reader, _worker_memories
    _worker_reader, _worker_memories = reader, memories
    if decode.cv2 is not None:
        decode.cv2.setNumThreads(0)


def _read_in_worker(number, plan, epoch, place):
    batch = _worker_reader.read(number, plan, epoch)
    if place is None:
        return batch
    kind = batch.images.shape, batch.images.dtype.str
    _worker_memories[place].array(*kind)[...] = batch.images
    return batch._replace(images=kind)
