"""Scoring a network on a split: every image once, however many processes share the work."""

import numpy as np
import paddle
from paddle.nn import functional

from ..errors import DataError
from ..losses import build_loss
from ..metrics import build_metric
from .log import LOGGER, Averages, StepTimer, eval_line, format_values
from .runtime import sum_over_ranks


def evaluate(model, reader, config, runtime, epoch=0, max_batches=None, on_batch=None):
    """Score `model` on `reader` and log PaddleClas' `[Eval]` lines.

    Args:
        model: network in any mode; it is in eval mode during the call and afterwards as it was.
        reader: build.Reader of this process' share of the split.
        config: schema.Config; its `Loss.Eval` and `Metric.Eval` say what is measured.
        runtime: Runtime; sums go over all of its processes.
        epoch: number for the log lines.
        max_batches: stop early, for a dry run; the count of images is then not checked.
        on_batch: called with (indices, probabilities (N, K) as numpy) for each batch.

    Returns:
        dict: mean of each loss and metric over the images of the split, in the order of the log line.

    Raises:
        DataError: an image cannot be read, or not every image was scored exactly once.
    """
    criterion = build_loss(config.Loss.Eval)
    accuracy = build_metric(config.Metric.Eval)
    losses, timer = Averages(), StepTimer()
    every = config.Global.print_batch_step
    steps = len(reader.loader)
    was_training = model.training
    model.eval()
    seen = 0
    with paddle.no_grad():
        for step, batch in enumerate(reader.loader.epoch(0)):
            timer.data_ready()
            labels = paddle.to_tensor(batch.labels)
            logits = model(paddle.to_tensor(batch.images)).astype("float32")
            _, parts = criterion(logits, labels)
            accuracy.update(logits, labels)
            count = len(batch.indices)
            losses.update({name: float(part) for name, part in parts.items()}, count)
            seen += count
            if on_batch is not None:
                on_batch(batch.indices, functional.softmax(logits).numpy())
            timer.step_done(count)
            if step % every == 0:
                values = {**losses.means(), **accuracy.compute()}
                LOGGER.info(eval_line(epoch, step, steps, values, timer))
            if max_batches is not None and step + 1 >= max_batches:
                break
    if was_training:
        model.train()
    result = _over_ranks(losses, accuracy, seen, runtime)
    scored = int(result.pop("images"))
    if max_batches is None and scored != len(reader.images):
        raise DataError(
            f"{scored} images were scored, but the list has {len(reader.images)}; please report this"
        )
    LOGGER.info("[Eval][Epoch %d][Avg]%s", epoch, format_values(result))
    return result


def _over_ranks(losses, accuracy, seen, runtime):
    """Return the means over the images of all processes, and their number as "images"."""
    means = losses.means()
    totals = np.array([seen, *(value * seen for value in means.values()), *accuracy.totals()], "float64")
    totals = sum_over_ranks(totals, runtime)
    result = {name: total / totals[0] for name, total in zip(means, totals[1:])}
    accuracy.load(totals[1 + len(means) :])
    return {"images": totals[0], **result, **accuracy.compute()}
