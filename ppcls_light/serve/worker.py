"""Worker process of the server: decodes images in threads and runs a `Predictor` on them.

Paddle holds Python's lock while it computes, so in the server's own process one batch would keep every other
client waiting, the probes of /health too. An image that crashes a decoder costs this process, which is started
anew, and not the server, whose end `remote` is. Across the pipe go JSON and the bytes of images, nothing that is
executed.
"""

from __future__ import annotations

import functools
import logging
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Sequence

import numpy as np

from ..base.processes import Caller
from ..config.postprocess import Topk
from ..data.decode import image_size
from ..data.formats import NoFormatError
from ..data.formats import names as format_names
from ..data.guards.limits import TooManyPixelsError
from ..data.opencv import use_one_thread
from ..errors import DataError, UserError
from ..prediction import Predictor
from ..prediction.photos import input_shape
from ..prediction.postprocess import PostProcessor
from ..prediction.results import answer_batch
from .remote import ModelOptions

logger = logging.getLogger(__name__)

# Resizing the short side enlarges a strip in proportion: 1 x 40000 pixels at short side 256 are 10 gigabytes.
MAX_RATIO = 50


def main() -> None:
    caller = Caller()
    warnings.filterwarnings("ignore", message=".*could be decompression bomb")
    options, _ = caller.receive()
    use_one_thread()
    try:
        classifier = _Classifier(ModelOptions(**options))
    except UserError as error:
        caller.send({"error": str(error)})
        return
    caller.send(classifier.describe())
    while True:
        topk, images = caller.receive()
        caller.send(classifier.classify(images, topk))


class ImageRefusedError(DataError):
    """An image that is not decoded; `status` is the HTTP status of the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_image(data: bytes, max_pixels: int) -> None:
    """Raise ImageRefusedError unless `data`, the bytes of a file, is an image to decode.

    Its status is 415 for other formats than those that are read, 413 for more than `max_pixels` pixels,
    and 422 for a strip whose one side is more than `MAX_RATIO` times the other, or a damaged header.
    """
    try:
        width, height = image_size(data)
    except NoFormatError as error:
        raise ImageRefusedError(415, f"{error} (read here: {format_names()})") from None
    except TooManyPixelsError:
        raise ImageRefusedError(
            413, f"the image has more than {max_pixels:,} pixels; send a smaller one"
        ) from None
    except DataError as error:
        raise ImageRefusedError(422, str(error)) from None
    if width * height > max_pixels:
        raise ImageRefusedError(
            413, f"the image has {width} x {height} pixels, more than {max_pixels:,}; send a smaller one"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageRefusedError(
            422, f"a strip of {width} x {height} pixels: one side is over {MAX_RATIO} times the other"
        )


def choose_engine(options: ModelOptions) -> str:
    """Return the engine and precision in words that a worker with these options takes; "auto" is then remembered."""
    return _Classifier(options)._predictor.engine_options.title


class _Classifier:
    """A `Predictor` with threads that prepare its images."""

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._predictor = Predictor(options.folder, batch_size=options.max_batch, **options.engine)
        self._threads = ThreadPoolExecutor(options.decode_threads, "decode")
        self._class_num = self._warm_up({1, options.max_batch})

    def _warm_up(self, counts: set[int]) -> int | None:
        """Run batches of these numbers of blank images; return the number of classes."""
        bundle, run = self._predictor.bundle, self._predictor.run
        try:
            blank = np.zeros(input_shape(bundle, self._predictor.image_shape))
            # Twice: for batches that come again OpenVINO makes a network, which must not take a client's time.
            return [run(np.stack([blank] * count)).shape[1] for count in [*counts] * 2].pop()
        except UserError:
            if bundle.image_shape is not None:
                raise
            # The size of its input is unknown: none is recorded, and nothing resizes.
            return bundle.class_num or (len(bundle.class_names) if bundle.class_names else None)

    def describe(self) -> dict[str, Any]:
        bundle, engine = self._predictor.bundle, self._predictor.engine_options
        return {
            "model": bundle.model_name or "unnamed",
            "classes": self._class_num,
            "engine": engine.engine,
            "topk": self._predictor.topk,
            "answer": bundle.postprocess.name,
            "threshold": getattr(bundle.postprocess, "limit", None),
        }

    def classify(self, images: Sequence[bytes], topk: int | None) -> dict[str, Any]:
        begin = time.perf_counter()
        prepared = [self._threads.submit(self._prepare, image) for image in images]
        wait(prepared)
        decoded = time.perf_counter()
        names = [None] * len(images)
        try:
            best = None if topk is None else PostProcessor(Topk(topk=topk), self._predictor.class_names)
            answer = functools.partial(self._predictor.answer, rows_of=best)
            rows = answer_batch(prepared, names, Future.result, answer)
        except UserError as error:
            logger.error("%s", error)
            rows = [{"error": "the network failed on this batch", "status": 500} for _ in images]
        for row, one in zip(rows, prepared):
            if "error" in row:
                # Without an exception it is the network that has no answer.
                row.setdefault("status", getattr(one.exception(), "status", 422 if one.exception() else 500))
        return {"rows": rows, "decode": decoded - begin, "inference": time.perf_counter() - decoded}

    def _prepare(self, image: bytes) -> np.ndarray:
        try:
            check_image(image, self._options.max_pixels)
            return self._predictor.prepare(image)
        except DataError:
            raise
        except Exception as error:  # a decoder's bug: this image fails, with the cause in the log
            logger.exception("an image of %d bytes cannot be prepared", len(image))
            raise ImageRefusedError(
                500, "this image cannot be prepared; the server's log has the cause"
            ) from error


if __name__ == "__main__":
    main()
