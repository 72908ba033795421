"""`Recorder`: writing of training metrics to the log, the progress bar, metrics.jsonl and the loggers."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import Callable, Iterable, Iterator, Mapping

import numpy as np
import paddle
from paddle import nn

from ..base.machine import peak_memory
from ..config import Config
from ..config.types import Op
from ..data.transforms.compose import build_transforms
from .distributed import Runtime
from .history import FILE_NAME, History
from .log import BRIEF, LOGGER, ON_BAR, StepTimer, each_epoch, format_values, progress, train_line
from .position import Position
from .sinks import Sink, check_loggers, open_sinks

_SHOWN_IMAGES = 16


class Recorder:
    """Record of the measurements of a run, everywhere that shows or keeps them.

    Only the main process keeps any, in files that are open within `files`; outside, as in a dry run, it only logs.
    A step here is a batch, as PaddleClas' Iter. Raises ConfigError: the package of one of `Global.loggers` is missing.
    """

    def __init__(self, config: Config, runtime: Runtime, steps_per_epoch: int, schedule_name: str) -> None:
        self._config, self._settings, self._runtime = config, config.Global, runtime
        self._steps, self._schedule_name = steps_per_epoch, schedule_name
        self._history: History | None = None
        self._sinks: list[Sink] = []
        self._batch_shown = False
        self._show: Callable[..., None] | None = None
        self._values: Mapping[str, float] = {}
        self._means: dict[str, Mapping[str, float]] = {}  # of the epoch, by split
        self._began: tuple[int, float] | None = None  # the epoch that the run began with, and when
        if runtime.is_main:
            check_loggers(self._settings)

    @contextlib.contextmanager
    def files(self, position: Position, evaluated: bool, model: nn.Layer) -> Iterator[None]:
        """Open the files of a run that goes on at `position`, and close them when the block ends.

        Rows of steps that a crash took back leave them; `evaluated`: see `History`.
        """
        with contextlib.ExitStack() as files:
            self._show = files.enter_context(progress())
            self._began = position.epoch, time.monotonic()
            if self._runtime.is_main:
                path = os.path.join(self._settings.output_dir, FILE_NAME)
                self._history = History(path, position.epoch + position.batch / self._steps, evaluated)
                files.callback(self._history.close)
                self._sinks = open_sinks(self._config, position.batches_before)
            for sink in self._sinks:
                files.callback(sink.close)
                sink.graph(model, self._settings.image_shape)
            try:
                yield
            finally:
                self._history, self._sinks, self._show = None, [], None

    def batch(self, images: np.ndarray) -> None:
        """Keep pictures of the first batch of the run, float32 (N, 3, H, W) as the network gets them."""
        if self._sinks and not self._batch_shown:
            self._batch_shown = True
            ops = self._config.reader("Train").dataset.transform_ops
            pictures = denormalise(images[:_SHOWN_IMAGES], ops)
            for sink in self._sinks:
                sink.images("train/first_batch", pictures, 0)

    def prints(self, at: Position) -> bool:
        """Return whether the batch at Position `at` has a line in the log."""
        return at.batch % self._settings.print_batch_step == 0

    def train_step(
        self, at: Position, lr: float, values: Mapping[str, float] | None, timer: StepTimer, skipped: int = 0
    ) -> None:
        """Record the batch at Position `at`; `skipped` updates were left out by AMP so far.

        `values` are means since the epoch began; None for a batch without a line, for which the progress bar goes on
        showing those of the last one.
        """
        self._values = self._values if values is None else values
        epochs = self._settings.epochs
        if self._show is not None:
            remaining = epochs * self._steps - at.batches_before
            self._show(
                f"Epoch {at.epoch + 1}/{epochs}", at.batch + 1, self._steps, self._values, timer, remaining
            )
        if values is None:
            return
        line = train_line(at, epochs, self._schedule_name, lr, values, timer)
        if skipped:
            line += f", skipped updates: {skipped}"
        memory = peak_memories(self._runtime.device) if self._settings.print_mem_info else {}
        line += "".join(f", {name}: {megabytes:.2f} MB" for name, megabytes in memory.items())
        LOGGER.info(line, extra=ON_BAR)
        self._keep("train", at.epoch, at.batch + 1, values, timer, lr, memory)

    def train_epoch(self, epoch: int, values: Mapping[str, float], model: nn.Layer) -> None:
        """Record the means of `epoch`, from 0, and on request the distributions of the parameters of `model`."""
        line = f"[Train][Epoch {epoch + 1}/{self._settings.epochs}][Avg]{format_values(values)}"
        LOGGER.info("%s", line, extra=each_epoch("train"))
        self._means = {"train": values}
        self._keep("train_avg", epoch, self._steps, values)
        if self._sinks and self._settings.log_histograms:
            arrays = {name: _finite(tensor) for name, tensor in model.named_parameters()}
            arrays = {name: array for name, array in arrays.items() if array.size}
            for sink in self._sinks:
                sink.histograms(arrays, (epoch + 1) * self._steps)

    def evaluation(self, epoch: int, values: Mapping[str, float], timer: StepTimer) -> None:
        """Record an evaluation after `epoch` epochs."""
        self._means["val"] = values
        self._keep("eval", epoch - 1, self._steps, values, timer)

    def end_of_epoch(self, epochs: int) -> None:
        """Log the line of a brief console, see `log.BRIEF`, after so many epochs."""
        if self._began is None:
            return
        first, began = self._began
        done, left = epochs - first, self._settings.epochs - epochs
        seconds = left * (time.monotonic() - began) / done if done > 0 else 0
        best = self._config.Metric.best
        shown = [f"{split} {_brief(values, best)}" for split, values in self._means.items()]
        to_go = [f"{seconds / 60:.1f} minutes left"] if seconds else []
        line = f"epoch {epochs} of {self._settings.epochs}: {'; '.join([*shown, *to_go])}"
        LOGGER.log(BRIEF, "%s", line, extra=each_epoch("epoch"))

    def _keep(
        self,
        split: str,
        epoch: int,
        done: int,
        values: Mapping[str, float],
        timer: StepTimer | None = None,
        lr: float | None = None,
        memory: Mapping[str, float] | None = None,
    ) -> None:
        """Write a row for `done` steps of `epoch`, from 0."""
        step = epoch * self._steps + done
        if self._history is not None:
            self._history.append(
                split,
                epoch + done / self._steps,
                step,
                values,
                lr=lr,
                images_per_second=timer and round(timer.images_per_second, 3),
                data_wait=timer and round(timer.data_share, 4),
                time=round(time.time(), 3),
                **({"memory_mb": memory} if memory else {}),
            )
        for sink in self._sinks:
            sink.scalars(split, values if lr is None else {**values, "lr": lr}, step)


def _brief(values: Mapping[str, float], best: str) -> str:
    """Return the loss of a split and, where they were measured, the top-1 and the metric `best`."""
    shown = [f"loss {values['loss']:.3f}"] if "loss" in values else []
    names = {"top1": "top-1", best: "top-1" if best == "top1" else best}
    return ", ".join([*shown, *(f"{name} {values[key]:.1%}" for key, name in names.items() if key in values)])


def denormalise(images: np.ndarray, ops: Iterable[Op]) -> np.ndarray:
    """Return uint8 (N, H, W, 3) pictures of a batch, float32 (N, 3, H, W), that `ops` have normalised."""
    images = images.transpose(0, 2, 3, 1)[..., :3]
    for op in ops:
        if op.name == "NormalizeImage":
            normalize = build_transforms([op]).ops[0]
            images = (images * normalize.std + normalize.mean) / normalize.scale
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def peak_memories(device: str) -> dict[str, float]:
    """Return the most memory that the process has had so far, {name: megabytes}, as far as the system tells."""
    if device == "gpu":
        cuda = paddle.device.cuda
        return {
            "max_mem_reserved": cuda.max_memory_reserved() / 2**20,
            "max_mem_allocated": cuda.max_memory_allocated() / 2**20,
        }
    peak = peak_memory()
    return {"max_rss": peak} if math.isfinite(peak) else {}


def _finite(tensor: paddle.Tensor) -> np.ndarray:
    array = tensor.astype("float32").numpy().ravel()
    return array[np.isfinite(array)]
