"""`classify_files`: classification of a folder with progress, row file and resuming, for predict_cls.py."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TextIO, cast

from ..base.machine import physical_cores
from ..base.signals import StopSignals
from ..config.deploy import DeployConfig, DeployGlobalConfig
from ..config.postprocess import ThreshOutput, Topk
from ..data.opencv import use_one_thread
from ..data.scan import LeftOut, iter_images
from ..errors import ConfigError, DataError
from .copies import Copies
from .deploy import predictor_from_config
from .predictor import Predictor
from .results import Row, format_row
from .rows import RowFile, check_output

logger = logging.getLogger(__name__)

MANY = 1000  # images from which on starting processes is soon made up for
TERMINAL_SECONDS = 5  # between two lines of progress
LOG_SECONDS = 60  # where somebody reads the lines later
MOST_WORKERS = 8  # by default: each holds the network and its engine, some 400 MB


class Outcome(NamedTuple):
    """Result of a job."""

    images: int  # that have a row, those of earlier runs with them
    failed: int  # of these, with an error
    new: int  # rows of this run
    new_failed: int
    seconds: float  # of this run
    signal: int | None  # that ended it before the last image
    partial: str | None  # path of the rows then, None without an output


def classify_files(
    config: DeployConfig,
    show: Callable[[Row], None],
    resume: bool = False,
    progress: TextIO | None = None,
    announce: Callable[[Predictor], None] | None = None,
) -> Outcome:
    """Classify the images of a `DeployConfig`, in the order of their names. SIGINT and SIGTERM end the job early.

    `show` is called with each row as soon as there is one, `announce` with the `Predictor` before the first. `resume`
    goes on from the rows of Global.output. `progress` gets a line now and then.

    Raises UserError: nothing to classify, the model cannot be used, or the output cannot be written or is not this
    job's.
    """
    run = config.Global
    if run.output:
        check_output(run.output)
    elif resume:
        raise ConfigError("--resume goes on from the rows of an output; add --output rows.jsonl")
    use_one_thread()
    stop = StopSignals()
    sources = run.infer_imgs if isinstance(run.infer_imgs, list) else [cast(str, run.infer_imgs)]
    images = _images(sources, stop)
    with stop, contextlib.ExitStack() as ends:
        predictor = predictor_from_config(config)
        if announce is not None:
            announce(predictor)
        file = None
        if run.output:
            unknown = predictor.bundle.unknown is not None
            file = ends.enter_context(RowFile(run.output, predictor.rows.columns, resume, unknown))
        if file is not None:
            file.skip_done(images)
            _require_same_answer(predictor, file)
        before, failed = (file.done, file.failed) if file is not None else (0, 0)
        head = list(itertools.islice(images, MANY))
        workers = _workers(run, many=len(head) == MANY)
        rows = ends.enter_context(
            contextlib.closing(predictor.iter_predict(itertools.chain(head, images), workers))
        )
        show = _copying(config, predictor, show, ends)
        shown = Progress(lambda: _count(sources, stop), before, progress)
        new, new_failed, began = 0, 0, time.perf_counter()
        while stop.signal is None:
            row = next(rows, None)
            if row is None:
                break
            if file is not None:
                file.write(row)
            new, new_failed = new + 1, new_failed + ("error" in row)
            show(row)
            shown.note(before + new, new_failed)
        if file is not None and stop.signal is None:
            file.finish()
    partial = file.partial if file is not None and os.path.exists(file.partial) else None
    seconds = time.perf_counter() - began
    return Outcome(before + new, failed + new_failed, new, new_failed, seconds, stop.signal, partial)


def _copying(
    config: DeployConfig, predictor: Predictor, show: Callable[[Row], None], ends: contextlib.ExitStack
) -> Callable[[Row], None]:
    """Return `show` with the copies that SavePreLabel asks for, which are counted when `ends` closes.

    Tags and scores, with a warning, have none.
    """
    wanted = config.PostProcess.SavePreLabel
    if wanted is None:
        return show
    if predictor.bundle.multilabel or not isinstance(predictor.postprocess, (Topk, ThreshOutput)):
        logger.warning(
            "PostProcess.SavePreLabel: no copies: an image with tags or scores is of no single class"
        )
        return show
    copies = Copies(wanted.save_dir)
    ends.callback(copies.report)

    def both(row: Row) -> None:
        copies.add(row)
        show(row)

    return both


def _images(sources: list[str], stop: StopSignals) -> Iterator[str]:
    """Return the images of all `sources`, files and folders. Raises DataError at once for one that is not there."""
    found = []
    for source in sources:
        images = iter_images(source, ended=lambda: stop.signal is not None)
        found.append(itertools.chain([next(images)], images))
    return itertools.chain.from_iterable(found)


def _count(sources: list[str], stop: StopSignals) -> int:
    # the job's own scan reports the files that are left out
    scans = (iter_images(source, LeftOut(source), lambda: stop.signal is not None) for source in sources)
    return sum(1 for images in scans for _ in images)


def _require_same_answer(predictor: Predictor, file: RowFile) -> None:
    """Raise DataError if `predictor` no longer reproduces the last row of `file`, before a job is resumed."""
    if file.last is None:
        return
    _require_same_names(predictor, file)
    name = file.last["file_name"]
    try:
        probs = predictor.run(predictor.preprocess(name)[None])
    except DataError:  # the image is gone since
        return
    if not predictor.rows.agrees(file.last, probs[0]):
        (now,) = predictor.rows(probs, [name])
        raise DataError(
            f"{file.path}: another model or other settings wrote the rows that are there, or {name} was changed "
            f"since: they say {_said(file.last)} of it, this model says {_said(now)}; take the same ones to go on, or "
            "name another output"
        )


def _require_same_names(predictor: Predictor, file: RowFile) -> None:
    """Raise DataError when the rows of `file` name a class otherwise than `predictor` does."""
    names = dict(enumerate(predictor.rows.shown or ()))
    for class_id, then in file.names.items():
        now = names.get(class_id, "")
        if then != now:
            raise DataError(
                f"{file.path}: class {class_id} is '{then}' in the rows that are there, and '{now}' now; take the "
                "class names of those rows to go on, or name another output"
            )


def _said(row: Row) -> str:
    return format_row("", row).lstrip(":\t ")


def _workers(run: DeployGlobalConfig, many: bool) -> int:
    cores, most = physical_cores(), max(MOST_WORKERS, os.cpu_count() or 1)
    if run.workers is not None:
        if run.workers > most:
            raise ConfigError(
                f"Global.workers={run.workers}: this machine is too small for more than {most}; set fewer, or leave "
                "it out"
            )
        return run.workers
    if not many or cores == 1 or run.use_gpu or run.enable_profile:
        return 0
    return min(cores, MOST_WORKERS)


class Progress:
    """Lines "1,200 of 50,000 images, 7 failed, 240.0 images/s, 0:03:23 to go" on `stream`, None: nowhere.

    The rate is that of images with a class; without one there is none. `count` returns how many images there are, and
    is called at the first line; `done` of them are not this run's work.
    """

    def __init__(self, count: Callable[[], int], done: int, stream: TextIO | None):
        self._count, self._before, self._stream = count, done, stream
        self._total: int | None = None
        self._began = self._shown = time.monotonic()
        self._seconds = TERMINAL_SECONDS if stream is not None and stream.isatty() else LOG_SECONDS

    def note(self, done: int, failed: int = 0) -> None:
        """Note that `done` images have rows, of this run `failed` with an error; most calls print nothing."""
        now = time.monotonic()
        if self._stream is None or now - self._shown < self._seconds:
            return
        self._shown = now
        if self._total is None:
            self._total = self._count()
        new, seconds = done - self._before, now - self._began
        left = datetime.timedelta(seconds=round((self._total - done) * seconds / new))
        parts = [
            f"{done:,} of {self._total:,} images",
            f"{failed:,} failed",
            speed(new - failed, seconds),
            f"{left} to go",
        ]
        print(
            ", ".join(part for part in parts if part not in ("0 failed", "")), file=self._stream, flush=True
        )


def speed(classified: int, seconds: float) -> str:
    """Return "240.0 images/s", "" where no image was classified: the rate of failures is no speed."""
    return f"{classified / seconds:.1f} images/s" if classified else ""
