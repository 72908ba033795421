"""A process that owns a `Predictor`: it decodes images in a few threads and runs the network on them.

Paddle holds Python's lock while it computes, so in the server's own process one batch would keep every other
client waiting, the probes of /health too. An image that crashes a decoder costs this process, which is started
anew, and not the server. What crosses the pipe is JSON and the bytes of images, nothing that is executed.
"""

import logging
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any, Dict

import numpy as np

from ..base.processes import Caller, Child, ProcessEndedError
from ..base.quiet import quiet_paddle
from ..errors import DataError, UserError
from ..predict import Predictor
from ..predict.results import Topk, classify_batch
from .images import ImageRefusedError, check_image

logger = logging.getLogger(__name__)

# A batch that takes longer than this never ends; the process is given up.
STUCK_SECONDS = 60


@dataclass(frozen=True)
class ModelOptions:
    """What a worker runs.

    Attributes:
        folder: the exported folder.
        decode_threads: threads that decode and resize.
        max_batch: the largest batch.
        max_pixels: of an image, width times height.
        engine: further arguments of `Predictor` (engine, device, cpu_threads, ...).
    """

    folder: str
    decode_threads: int = 2
    max_batch: int = 8
    max_pixels: int = 50_000_000
    engine: Dict[str, Any] = field(default_factory=dict)


class Worker:
    """The server's end of one worker process. One call at a time, from any thread; each blocks."""

    def __init__(self, options):
        self._options = options
        self._process = None
        self._stopped = False
        self._lock = threading.Lock()

    def start(self):
        """Start the process and wait until the network is loaded and warm.

        Returns:
            {"model", "classes", "engine", "topk"} of what was loaded.

        Raises:
            UserError: the model folder or an option is wrong.
            ProcessEndedError: anything else went wrong.
        """
        with self._lock:
            if self._stopped:
                raise ProcessEndedError("the server ends")
            self._process = Child(__name__)
        self._process.send(asdict(self._options))
        answer, _ = self._process.receive()
        if "error" in answer:
            self.stop()
            raise UserError(answer["error"])
        return answer

    def classify(self, images, topk):
        """Return {"rows": one a file, "decode": s, "inference": s}; a row is classes or {"error", "status"}.

        Args:
            images: the bytes of image files.
            topk: classes a row, at most.

        Raises:
            ProcessEndedError: the process is gone; `start` makes a new one.
        """
        self._process.send(topk, *images)
        answer, _ = self._process.receive(STUCK_SECONDS)
        return answer

    def stop(self, for_good=False):
        """End the process; with `for_good`, `start` makes no other."""
        with self._lock:
            self._stopped = for_good
            if self._process is not None:
                self._process.close()


def main():
    caller = Caller()
    quiet_paddle()
    warnings.filterwarnings("ignore", message=".*could be decompression bomb")
    options, _ = caller.receive()
    try:
        classifier = _Classifier(ModelOptions(**options))
    except UserError as error:
        caller.send({"error": str(error)})
        return
    caller.send(classifier.describe())
    while True:
        topk, images = caller.receive()
        caller.send(classifier.classify(images, topk))


class _Classifier:
    """A `Predictor` with threads that prepare its images."""

    def __init__(self, options):
        self._options = options
        self._predictor = Predictor(options.folder, batch_size=options.max_batch, **options.engine)
        self._threads = ThreadPoolExecutor(options.decode_threads, "decode")
        self._class_num = self._warm_up({1, options.max_batch})

    def _warm_up(self, counts):
        """Run batches of so many blanks; return the number of classes."""
        bundle, run = self._predictor.bundle, self._predictor.run
        try:
            blank = np.zeros(self._predictor.image_shape, "float32")
            return [run(np.stack([blank] * count)).shape[1] for count in counts].pop()
        except UserError:
            if bundle.image_shape is not None:
                raise
            # Nobody knows what it takes: no size is recorded, and nothing resizes.
            return bundle.class_num or (bundle.class_names and len(bundle.class_names))

    def describe(self):
        bundle, engine = self._predictor.bundle, self._predictor.engine_options
        return {
            "model": bundle.model_name or "unnamed",
            "classes": self._class_num,
            "engine": engine.engine,
            "topk": bundle.topk,
        }

    def classify(self, images, topk):
        begin = time.perf_counter()
        prepared = [self._threads.submit(self._prepare, image) for image in images]
        wait(prepared)
        decoded = time.perf_counter()
        names = [None] * len(images)
        try:
            rows = classify_batch(
                prepared,
                names,
                Future.result,
                self._predictor.run,
                Topk(topk, self._predictor.bundle.class_names),
            )
        except UserError as error:
            logger.error("%s", error)
            rows = [{"error": "the network failed on this batch", "status": 500} for _ in images]
        for row, one in zip(rows, prepared):
            if "error" in row:
                # Without an exception it is the network that has no answer.
                row.setdefault("status", getattr(one.exception(), "status", 422 if one.exception() else 500))
        return {"rows": rows, "decode": decoded - begin, "inference": time.perf_counter() - decoded}

    def _prepare(self, image):
        try:
            check_image(image, self._options.max_pixels)
            return self._predictor.preprocess(image)
        except DataError:
            raise
        except Exception as error:  # a decoder's bug: this image fails, with the cause in the log
            logger.exception("an image of %d bytes cannot be prepared", len(image))
            raise ImageRefusedError(
                500, "this image cannot be prepared; the server's log says more"
            ) from error


if __name__ == "__main__":
    main()
