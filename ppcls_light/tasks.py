"""The jobs of the four tools: each takes a checked config and does all of it."""

import contextlib
import json
import os
import tempfile

from .engine import runtime as runtimes
from .engine.build import (
    build_model,
    build_reader,
    class_names,
    inference_transforms,
    sample_images,
    trained_weights,
)
from .engine.evaluate import evaluate as score
from .engine.infer import infer as classify
from .engine.log import LOGGER, setup_logging
from .engine.profiler import Profiler, parse_profiler_options
from .engine.train import Trainer
from .export import export_model
from .files import write_text


def train(config, profiler_options=None):
    """Train as `config` says; `profiler_options` is the text of `-p`."""
    profiler = Profiler(parse_profiler_options(profiler_options)) if profiler_options else None
    Trainer(config, _start(config, "train.log"), profiler).fit()
    if profiler is not None:
        profiler.close()


def evaluate(config, predictions=None):
    """Score trained weights on DataLoader.Eval; with `predictions`, write one JSON row an image to that file.

    A row is {"file_name", "label", "class_ids", "scores"}, all classes, best first, in the list's order.
    """
    runtime = _start(config, "eval.log")
    weights = trained_weights(config)
    reader = build_reader(config, "Eval", runtime)
    model = build_model(config, weights)
    rows = {}

    def keep(indices, probs):
        for index, row in zip(indices.tolist(), probs):
            order = (-row).argsort(kind="stable")
            rows[index] = {
                "file_name": reader.images.path(index),
                "label": reader.images.label(index),
                "class_ids": order.tolist(),
                "scores": row[order].tolist(),
            }

    result = score(model, reader, config, runtime, on_batch=keep if predictions else None)
    if predictions:
        lines = (json.dumps(rows[index], ensure_ascii=False) for index in sorted(rows))
        write_text(predictions, "".join(f"{line}\n" for line in lines))
    return result


def infer(config):
    """Classify the files of the section Infer with trained weights; the main process does all of them."""
    runtime = _start(config, "infer.log")
    if not runtime.is_main:
        return []
    weights = trained_weights(config)
    return classify(build_model(config, weights), config, class_names(config, weights))


def export(config):
    """Export trained weights to `Global.save_inference_dir` for Paddle Inference, and prove the result."""
    # On CPU whatever trained it: the comparison allows 1e-5, which a GPU's TF32 convolutions do not keep.
    runtime = _start(config, "export.log", device="cpu")
    if not runtime.is_main:
        return None
    weights = trained_weights(config)
    return _export(build_model(config, weights), config, config.Global.save_inference_dir, weights)


def dry_run(config):
    """Build everything, do one train step, one eval batch and one export into a scratch folder, and say so."""
    runtime = _start(config, None)
    trainer = Trainer(config, runtime)
    trainer.network.train()
    with contextlib.closing(trainer.reader.loader.epoch(0)) as batches:
        batch = next(batches)
    losses = trainer.train_step(batch)[-1]
    LOGGER.info("dry run: one step of %d images, loss %.5f", len(batch.indices), losses["loss"])
    if trainer.eval_reader is not None:
        trainer.evaluate(max_batches=1)
    if runtime.is_main:
        with tempfile.TemporaryDirectory() as scratch:
            _export(trainer.model, config, os.path.join(scratch, "inference"))
    LOGGER.info("dry run: everything works; nothing was kept")


def _start(config, log_name, device=None):
    setup_logging()
    runtime = runtimes.start(device or config.Global.device)
    path = os.path.join(config.Global.output_dir, log_name) if log_name else None
    setup_logging(path, runtime.rank)
    return runtime


def _export(model, config, folder, weights=None):
    return export_model(
        model,
        folder,
        config.Global.image_shape,
        inference_transforms(config),
        class_names=class_names(config, weights),
        model_name=config.Arch.name,
        topk=config.Infer.PostProcess.topk,
        images=sample_images(config),
    )
