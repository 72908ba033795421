"""Evaluation of a network on a split; the processes share the images, and each is scored once."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

import numpy as np
import paddle
from paddle import nn

from ..base.files import write_text
from ..base.hints import command
from ..config import Config
from ..config.dataloader import DatasetConfig
from ..data.image_list import ImageList
from ..errors import DataError
from .averages import Averages
from .distributed import Runtime, raise_on_all_ranks, sum_over_ranks
from .log import LOGGER, ON_BAR, StepTimer, each_epoch, eval_line, format_values, progress
from .losses import build_loss
from .metrics import Metrics
from .readers import Reader


def evaluate(
    model: nn.Layer,
    reader: Reader,
    config: Config,
    runtime: Runtime,
    epoch: int = 0,
    max_batches: int | None = None,
    on_batch: Callable[[np.ndarray, np.ndarray], None] | None = None,
    timer: StepTimer | None = None,
) -> dict[str, float]:
    """Score `model` on `reader` and log PaddleClas' `[Eval]` lines.

    Returned is the mean of each loss (`Loss.Eval`) and metric (`Metric.Eval`) over the images of the split, in the
    order of the log line. The `reader` has this process' share; sums go over all processes of `runtime`. `model` is
    in eval mode during the call and afterwards as it was; `timer` has the speed afterwards.

    `max_batches` stops early, for a dry run; the count of images is then not checked. `on_batch` is called with
    (indices, logits float32 (N, K) as numpy) for each batch.

    Raises DataError: an image cannot be read, or not every image was scored exactly once.
    """
    criterion = build_loss(
        config.Loss.of("Eval"), config.Arch.infer_model_name, tag_shares=reader.images.tag_shares
    )
    metrics = Metrics(config.Metric.of("Eval"))
    losses, timer = Averages(), timer or StepTimer()
    every = config.Global.print_batch_step
    steps = len(reader.loader)
    was_training = model.training
    model.eval()
    with paddle.no_grad(), progress() as show, raise_on_all_ranks(runtime):
        for step, batch in enumerate(reader.loader.epoch(0)):
            timer.data_ready()
            labels = paddle.to_tensor(batch.labels)
            logits = model(paddle.to_tensor(batch.images)).astype("float32")
            _, parts = criterion(logits, labels)
            metrics.update(logits, labels)
            count = len(batch.indices)
            losses.update(parts, count)
            if on_batch is not None:
                on_batch(batch.indices, logits.numpy())
            prints = step % every == 0
            if prints:
                values = {**losses.means(), **metrics.running()}
            timer.step_done(count)
            show("Eval", step + 1, steps, values, timer, steps - step - 1)
            if prints:
                LOGGER.info(eval_line(epoch, step, steps, values, timer), extra=ON_BAR)
            if max_batches is not None and step + 1 >= max_batches:
                break
    if was_training:
        model.train()
    means, seen = losses.means(), losses.images
    totals = np.array(
        [seen, *(value * seen for value in means.values()), *metrics.accuracy.totals()], "float64"
    )
    scored, *sums = sum_over_ranks(totals, runtime).tolist()
    if max_batches is None and scored != len(reader.images):
        raise DataError(
            f"{scored:.0f} images were scored, but the list has {len(reader.images)}; please report this"
        )
    metrics.accuracy.load(sums[len(means) :])
    metrics.join(runtime)
    result = {**{name: total / scored for name, total in zip(means, sums)}, **metrics.compute()}
    LOGGER.info("[Eval][Epoch %d][Avg]%s", epoch, format_values(result), extra=each_epoch("eval"))
    return result


def evaluate_each(
    model: nn.Layer, reader: Reader, config: Config, runtime: Runtime
) -> tuple[dict[str, float], np.ndarray]:
    """Score `model` as `evaluate` does; return (result, logits float32 (N, K)) of all images in list order.

    Every process has all of them. Raises DataError when an image was scored twice or not at all.
    """
    count = len(reader.images)
    logits: np.ndarray = np.zeros((count, config.Arch.class_num), np.float32)
    times = np.zeros(count)

    def keep(indices: np.ndarray, rows: np.ndarray) -> None:
        logits[indices] = rows
        times[indices] += 1

    result = evaluate(model, reader, config, runtime, on_batch=keep)
    # An image's row is zero on all processes but one. In blocks: the sum is made in float64, as a copy.
    for start in range(0, count, 4096):
        block = slice(start, start + 4096)
        logits[block] = sum_over_ranks(logits[block].astype("float64"), runtime)
    wrong = np.flatnonzero(sum_over_ranks(times, runtime) != 1)
    if wrong.size:
        raise DataError(
            f"{reader.images.path(int(wrong[0]))} and {wrong.size - 1} other images were not scored exactly once; "
            "please report this"
        )
    return result, logits


def write_predictions(path: str, images: ImageList, scores: np.ndarray) -> None:
    """Write a JSON row for each image: its label, and all classes by their `scores` (N, K), the best first."""

    def row(index: int) -> dict[str, Any]:
        order = (-scores[index]).argsort(kind="stable")
        return {
            "file_name": images.path(index),
            **images.truth(index),
            "class_ids": order.tolist(),
            "scores": scores[index][order].tolist(),
        }

    lines = (json.dumps(row(index), ensure_ascii=False) for index in range(len(images)))
    write_text(path, "".join(f"{line}\n" for line in lines), keep=True)


def scores_learned(config: Config) -> bool:
    """Return whether DataLoader.Eval has the images of DataLoader.Train, as where tools/make_list.py split none off."""
    train, scored = config.DataLoader.Train, config.DataLoader.Eval
    if train is None or scored is None:
        return False
    learned, images = train.dataset, scored.dataset
    if not (isinstance(learned, DatasetConfig) and isinstance(images, DatasetConfig)):
        return False
    paths = [(own.image_root, own.cls_label_path or own.image_root) for own in (learned, images)]
    one, other = (tuple(map(os.path.abspath, pair)) for pair in paths)
    return one == other


def warn_of_learned(config: Config) -> None:
    """Log once that the images were learned, see `scores_learned`."""
    if scores_learned(config):
        LOGGER.warning(
            "DataLoader.Eval has the images of DataLoader.Train, and a score of what was learned says little of new "
            "ones; keep some apart: %s FOLDER --split 0.8/0.1/0.1",
            command("lists"),
        )
