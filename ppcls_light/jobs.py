"""Entry points of the tools, one function per command, each from a config."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shlex
import tempfile
from typing import Any, Collection

from paddle import nn

from . import compress
from .base.files import require_writable, results, write_text
from .base.hints import command
from .base.probabilities import probabilities
from .bundle.chosen import Chosen
from .config import Config, ConfigLike, checked, dump_config
from .config.arch import ArchConfig
from .config.formats import ExportFormat
from .config.postprocess import ThreshOutput, Topk, bare
from .engine import distributed as runtimes
from .engine.answering import answering, threshold_in_use
from .engine.batch_size import with_batch_size
from .engine.choose_threshold import Choice
from .engine.classes import class_names, described_classes, stored_classes, warn_of_labels
from .engine.embed_files import embed_files
from .engine.evaluate import evaluate as score
from .engine.evaluate import evaluate_each, warn_of_learned, write_predictions
from .engine.explain import trained_subject
from .engine.infer import infer as classify
from .engine.infer import listed_labels, truths
from .engine.linear_teacher import fit_and_write
from .engine.log import LOGGER, format_values, setup_logging
from .engine.metrics import warn_of_trivial
from .engine.network import build_model, trained_weights
from .engine.output_folder import claimed
from .engine.preprocessing import check_pixels, exported_shape
from .engine.profiler import Profiler, parse_profiler_options
from .engine.range_test import HIGH, LOW, STEPS, RangeTest, override, range_test
from .engine.readers import (
    build_reader,
    inference_transforms,
    labelled_images,
    sample_images,
    unknown_images,
)
from .engine.time_budget import within_minutes
from .engine.trainer import Trainer
from .errors import ConfigError, UserError
from .explanation.heat_maps import heat_maps
from .explanation.job import LIMIT
from .explanation.job import explain as explain_images
from .export.accuracy import MAX_DROP, AccuracyGate
from .export.export import ExportReport, export_model, weights_checksum
from .export.operators import compare_ops
from .models.profile import profile
from .prediction.postprocess import PostProcessor
from .report.grid import check_picture, write_grid
from .report.of_network import Extras, Network, Report
from .report.range_test import write_range_test
from .weights import dump_plain_pickle, write_weights


def train(config: ConfigLike, profiler_options: str | None = None) -> None:
    """Train as `config` says; `profiler_options` is the text of `-p`."""
    profiler = Profiler(parse_profiler_options(profiler_options)) if profiler_options else None
    config = checked(config)
    runtime = _start(config, None, keep_log=True)
    with claimed(config.Global, runtime):
        config = within_minutes(with_batch_size(config, runtime), runtime)
        Trainer(config, runtime, profiler).fit()
    if profiler is not None:
        profiler.close()


def evaluate(
    config: ConfigLike,
    predictions: str | None = None,
    report: str | None = None,
    latency: bool = False,
    label_next: str | None = None,
    label_count: int | None = None,
    choose_threshold: str | None = None,
) -> dict[str, float]:
    """Score trained weights on DataLoader.Eval.

    The file `predictions` gets one JSON row per image: {"file_name", "label", "class_ids", "scores"}, all classes,
    best first, in the list's order; with tags, "label" lists those of the image and "unknown" those not known. A file
    with other rows is set aside, see `files.set_aside`. The folder `report` gets a page and its tables, see
    `report.folder.write_report`; with `latency` the exported folder's engines are measured for it, and of the images in
    the folder `label_next` it shows the `label_count` (100) to label next, see `report.label_next`. `choose_threshold`,
    a rule such as "tpr@fpr=0.001", keeps the threshold that it chooses beside the weights, see
    `engine.choose_threshold`.

    Raises ConfigError: what the report is to show without `report`; `latency` without an export of these weights; no
    such rule, or more than two classes. DataError: the images do not give the threshold.
    """
    config, extras = checked(config), Extras(latency, label_next, label_count)
    runtime = _start(config, "eval.log")
    extras.check(config, report)
    weights = trained_weights(config)
    choice = Choice(choose_threshold, config, weights) if choose_threshold else None
    if runtime.is_main:
        for path in filter(None, (predictions, report and os.path.join(report, "summary.json"))):
            require_writable(path)
    names = class_names(config, weights)
    reader = build_reader(config, "Eval", runtime, names)
    check_pixels(config)
    stored = stored_classes(weights, config.Arch.class_num)
    if stored is not None and names is None:
        stored.require_same(None, reader.images, "evaluate with the labels of the training")
    warn_of_labels(config.Arch.class_num, names, evaluation=reader.images.labels)
    LOGGER.info("%d images of %s", len(reader.images), reader.images.source)
    model = build_model(config, weights)
    warn_of_trivial(config.Metric.of("Eval"), config.Arch.class_num)
    warn_of_learned(config)
    if not (predictions or report or choice):
        return score(model, reader, config, runtime)
    written = _report(report, config, weights, model, extras) if runtime.is_main and report else None
    result, logits = evaluate_each(model, reader, config, runtime)
    if choice is not None:
        config = choice.make(reader, logits, weights_checksum(model), runtime)
    elif written is not None:
        config, _ = answering(config, weights)
    if runtime.is_main and predictions:
        write_predictions(predictions, reader.images, probabilities(logits, config.multilabel))
    if written is not None:
        summary = written.write(reader, logits, threshold_in_use(config))
        numbers = ", ".join(f"{name} {value:.5g}" for name, value in summary.items())
        LOGGER.info("report in %s: %s", report, numbers)
    return result


def _report(folder: str, config: Config, weights: str, model: nn.Layer, extras: Extras) -> Report:
    network = Network(
        weights,
        weights_checksum(model),
        profile(model, config.Global.image_shape),
        functools.partial(heat_maps, model),
        functools.partial(embed_files, model, config),
    )
    return Report(folder, config, network, extras)


def infer(config: ConfigLike, picture: str | None = None) -> list[dict[str, Any]]:
    """Classify the files of the section Infer with trained weights; only the main process returns rows.

    The file `picture`, by default `Infer.picture`, gets thumbnails with truth, prediction and score, see
    `report.grid.write_grid`.
    """
    config = checked(config)
    runtime = _start(config, "infer.log")
    path = picture or config.Infer.picture
    if path:
        check_picture(path, "--picture" if picture else "Infer.picture")
    labels = listed_labels(config) if path else {}
    weights = trained_weights(config)
    config, _ = answering(config, weights)
    names = class_names(config, weights)
    rows = classify(build_model(config, weights), config, runtime, names)
    if path and runtime.is_main:
        known = truths([row["file_name"] for row in rows], labels, names)
        shown = PostProcessor(config.postprocess, names).shown
        of_classes = isinstance(config.postprocess, (Topk, ThreshOutput)) and not config.multilabel
        write_grid(path, rows, known, None if shown is None else shown.names, of_classes)
    return rows


def explain(
    config: ConfigLike,
    source: str,
    folder: str | None = None,
    method: str = "layercam",
    label: str | None = None,
    layer: str | None = None,
    limit: int = LIMIT,
) -> list[dict[str, Any]]:
    """Show what in the images of `source`, a file or a folder, speaks for a class to a network with trained weights.

    `method` and `layer` are those of `explain.heat_maps.heat_maps`, the rest of `explain.job.explain`; `folder` is by
    default explain in `Global.output_dir`. Only the main process has rows to return.
    """
    config = checked(config)
    runtime = _start(config, None)
    if not runtime.is_main:
        return []
    folder = folder or os.path.join(config.Global.output_dir, "explain")
    return explain_images(trained_subject(config, method, layer), source, folder, label, limit)


def export(
    config: ConfigLike,
    formats: Collection[ExportFormat] | None = None,
    max_drop: float | None = None,
    operators: bool = False,
    cdn: bool = False,
    webgpu: bool = False,
) -> ExportReport | None:
    """Export trained weights to `Global.save_inference_dir` for Paddle Inference, and prove the result.

    The files of `formats` are written beside the Paddle graph and proved, too. With `Global.export_precision` int8
    there are int8 graphs, too, of every engine that loses by it at most `max_drop` percentage points of top-1; where
    `formats` has other runtimes, of these, which must not lose more. fp16 is for such runtimes. `operators` logs the
    operators of the graph, as trained and as exported; `cdn` and `webgpu` are of the format web.
    """
    config = checked(config)
    # On CPU whatever trained it: the comparison allows 1e-5, which a GPU's TF32 convolutions do not keep.
    runtime = _start(config, "export.log", device="cpu")
    if not runtime.is_main:
        return None
    if max_drop is not None and config.Global.export_precision != "int8":
        raise ConfigError("--max-drop limits the loss of int8; add -o Global.export_precision=int8")
    others = [name for name in dict.fromkeys(formats or ()) if name not in ("paddle", "onnx", "web")]
    for option, given in (("--cdn", cdn), ("--webgpu", webgpu)):
        if given and "web" not in (formats or ()):
            raise ConfigError(f"{option} is of the page of --format web; add that, or leave it out")
    half = config.Global.export_precision == "fp16"
    if half and not others:
        raise ConfigError(
            f"{config.place('Global.export_precision')}: fp16 is for files of other runtimes; add --format openvino, "
            "say, or leave it out"
        )
    if operators and config.Slim.quant:
        raise ConfigError(
            "--operators counts those of an fp32 graph; leave it out for a network of Slim.quant"
        )
    weights = trained_weights(config)
    config, chosen = answering(config, weights)
    check_pixels(config)
    if config.Global.unknown:
        warn_of_learned(config)
    model, gate = build_model(config, weights), None
    if config.Global.export_precision == "int8":
        images = labelled_images(config, class_names(config, weights))
        gate = AccuracyGate(images, MAX_DROP if max_drop is None else max_drop)
    report = _export(
        *(model, config, config.Global.save_inference_dir, weights, "onnx" in (formats or ()), gate, chosen),
        formats=others,
        half=half,
        web="web" in (formats or ()),
        cdn=cdn,
        webgpu=webgpu,
    )
    if operators:
        table = compare_ops(model, report.folder, config.Global.image_shape)
        LOGGER.info(
            "Operators of the graph, those whose number changed, and all; engines fuse additions and activations "
            "into the convolutions before them:\n%s",
            table.rstrip(),
        )
    return report


def prune(config: ConfigLike, ratio: float, criterion: str, folder: str) -> None:
    """Prune trained weights as `compress.prune` does, and write them and a config that goes on from them.

    `folder`/config.yaml is `config` with the pruned network's own widths; training with it fine-tunes. Other
    weights or another config that are there are set aside, see `files.results`.

    Raises ConfigError: see `compress.prune`; or the config trains a student, which is pruned by a config of its own.
    """
    config = checked(config)
    if not isinstance(config.Arch, ArchConfig):
        raise ConfigError(
            "Arch.name: DistillationModel: prune one network: give the config that has it alone"
        )
    runtime = _start(config, None, device="cpu")
    if not runtime.is_main:
        return
    trained = trained_weights(config)
    whole, names = build_model(config, trained), class_names(config, trained)
    pruned = compress.prune(whole, ratio, criterion)
    params = {
        key: value for key, value in pruned.options.items() if key not in ("class_num", "features_only")
    }
    weights, file = (os.path.join(folder, name) for name in ("pruned.pdparams", "config.yaml"))
    settings = dataclasses.replace(
        config.Global,
        pretrained_model=weights,
        checkpoints=None,
        output_dir=os.path.join(folder, "output"),
        save_inference_dir=os.path.join(folder, "inference"),
    )
    arch = dataclasses.replace(config.Arch, pretrained=None, use_ssld=False, params=params)
    slim = dataclasses.replace(config.Slim, prune=None)
    text = dump_config(dataclasses.replace(config, Global=settings, Arch=arch, Slim=slim))
    with results(folder) as scratch:
        write_weights(os.path.join(scratch, os.path.basename(weights)), pruned.state_dict())
        dump_plain_pickle(
            described_classes(names, config.multilabel), os.path.join(scratch, "pruned.pdstates")
        )
        write_text(os.path.join(scratch, os.path.basename(file)), text)
    LOGGER.info("pruned: %s", compress.compression_report(whole, pruned, settings.image_shape))
    LOGGER.info("fine-tune it with: %s -c %s", command("train"), shlex.quote(file))


def fit_teacher(config: ConfigLike, folder: str, teacher: str | None = None) -> float:
    """Fit a linear classifier on a teacher's embeddings of DataLoader.Train, and write it to `folder` as a teacher.

    `teacher` is one of the config's with `onnx` or `folder`, by default the first that gives embeddings to a
    `DistillationFeatureLoss`. Only labelled images are fitted. See `engine.linear_teacher`.

    Returns the top-1 on DataLoader.Eval, a share; without that section the one on the images of the fit.

    Raises ConfigError: there is no such teacher; images have tags. UserError: see `linear_teacher.fit_and_write`.
    """
    config = checked(config)
    if config.multilabel:
        raise ConfigError(
            f"{config.place('Global.use_multilabel')}: a classifier is fitted for one class per image; let the "
            "student of tags learn from the teacher's embeddings by DistillationFeatureLoss"
        )
    runtime = _start(config, None, device="cpu")
    return fit_and_write(config, runtime, folder, teacher)


def find_lr(
    config: ConfigLike, low: float = LOW, high: float = HIGH, steps: int = STEPS, folder: str | None = None
) -> RangeTest:
    """Measure the training's loss at learning rates from `low` to `high`, and suggest one, see `engine.range_test`.

    `folder`, by default find_lr in `Global.output_dir`, gets the points and a picture; nothing else is written. Rates
    are as `Optimizer.lr.learning_rate` has them.

    Raises UserError: the loss did not fall, so that there is no suggestion; the files are there all the same.
    """
    config = checked(config)
    runtime = _start(config, None)
    folder = folder or os.path.join(config.Global.output_dir, "find_lr")
    require_writable(os.path.join(folder, "points.csv"))
    config = with_batch_size(config, runtime)
    test = range_test(config, runtime, low, high, steps)
    write_range_test(folder, test)
    LOGGER.info("range test: %d points, and their curve, in %s", len(test.rates), folder)
    if test.suggestion is None:
        raise UserError(
            f"no learning rate is suggested: from {test.rates[0]:g} to {test.rates[-1]:g} the loss did not fall by "
            f"more than it scatters (see {folder}); use more --steps, another --low, or check the labels"
        )
    if not test.diverged:
        LOGGER.warning("the loss did not diverge up to %g; a higher --high may show a higher rate", high)
    LOGGER.info(
        "suggested learning rate: %.3g, a decade below the %.3g up to which the loss is no worse than at first (it "
        "falls fastest at %.3g and is least at %.3g): -o %s",
        test.suggestion,
        *(test.rates[index] for index in (test.bound, test.steepest, test.minimum)),
        override(config.optimizer().lr, test.suggestion),
    )
    return test


def dry_run(config: ConfigLike) -> None:
    """Build everything, do one update, one eval batch and one export into a scratch folder."""
    config = checked(config)
    runtime = _start(config, None)
    trainer = Trainer(with_batch_size(config, runtime), runtime)
    trainer.model.train()
    with contextlib.closing(trainer.reader.loader.epoch(0)) as batches:
        for batch in itertools.islice(batches, config.Global.update_freq):
            losses = {name: float(value) for name, value in trainer.train_step(batch)[-1].items()}
            trainer.losses.check()
            LOGGER.info("dry run: a batch of %d images, %s", len(batch.indices), format_values(losses))
    if trainer.eval_reader is not None:
        trainer.evaluate(max_batches=1)
    if runtime.is_main:
        with tempfile.TemporaryDirectory() as scratch:
            model = trainer.scored_model()
            model = model.student if config.Arch.teachers else model
            _export(model, config, os.path.join(scratch, "inference"))
    kept = "nothing but the answers of the teachers" if config.Arch.graph_teachers else "nothing"
    LOGGER.info("dry run: everything works; %s was kept", kept)


def _start(
    config: Config, log_name: str | None, device: str | None = None, keep_log: bool = False
) -> runtimes.Runtime:
    setup_logging()
    runtime = runtimes.start(device or config.Global.device)
    path = os.path.join(config.Global.output_dir, log_name) if log_name else None
    ranks = config.Global.logging_ranks()
    if min(ranks) >= runtime.world_size:
        raise ConfigError(
            f"Global.log_ranks: {config.Global.log_ranks}: the processes are 0 to {runtime.world_size - 1}, so "
            "nothing would be logged; use -o Global.log_ranks=0"
        )
    setup_logging(path, runtime.rank, ranks, keep_log)
    return runtime


def _export(
    model: nn.Layer,
    config: Config,
    folder: str,
    weights: str | None = None,
    onnx: bool = False,
    gate: AccuracyGate | None = None,
    chosen: Chosen | None = None,
    **others: Any,
) -> ExportReport:
    names, ops, images = class_names(config, weights), inference_transforms(config), sample_images(config)
    return export_model(
        *(model, folder, exported_shape(config, ops, images or ()), ops),
        class_names=names,
        model_name=config.Arch.network.name,
        postprocess=bare(config.postprocess),
        images=images,
        onnx=onnx,
        gate=gate,
        embedding=config.Global.embedding,
        unknown=unknown_images(config, names) if config.Global.unknown else None,
        multilabel=config.multilabel,
        chosen=chosen,
        softmax=config.Arch.infer_add_softmax,
        preprocess=config.Global.export_preprocess,
        **others,
    )
