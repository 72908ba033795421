"""Report of a network's evaluation: what the job has at hand, put together for `folder.write_report`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from ..base.probabilities import softmax
from ..bundle.folder import Bundle, read_bundle
from ..config import Config
from ..engine.evaluate import scores_learned
from ..engine.history import FILE_NAME, read_history
from ..engine.log import LOGGER
from ..engine.readers import Reader
from ..errors import ConfigError, UserError
from ..models.profile import ModelProfile
from ..runtime.auto import resolve
from ..runtime.options import EngineOptions
from .card import data_card, export_card, model_card
from .evaluation import Evaluation
from .folder import write_report
from .pictures import HeatMaps, Pictures


class Network(NamedTuple):
    """Facts of the network that a report is about.

    weights: the file, address or name that they came from. checksum: of `export.weights_checksum`.
    """

    weights: str
    checksum: str
    profile: ModelProfile
    heat_maps: HeatMaps


def report_network(
    folder: str, config: Config, network: Network, reader: Reader, logits: np.ndarray, latency: bool = False
) -> dict[str, float]:
    """Write the report of `network`, with its `logits` (N, K) for the images of `reader`.

    Learning curves are those of the metrics.jsonl beside the weights, and the export is that in
    `Global.save_inference_dir` if it is of this network; with `latency` its engines are measured, see `auto.resolve`.
    Returned is the summary.

    Raises UserError: a file cannot be written. ConfigError: `latency`, and no export of this network.
    """
    names = reader.class_names
    evaluation = Evaluation(
        reader.images,
        softmax(logits),
        logits.argmax(axis=1),
        None if names is None else names.names,
        scores_learned(config),
    )
    bundle = _export_of(network, config, latency)
    if bundle is not None and latency:
        resolve(bundle, EngineOptions(engine="auto", batch_size=1), config.Global.image_shape)
    card = {
        "data": data_card(evaluation),
        "model": model_card(config, network.weights, network.profile),
        **({} if bundle is None else {"export": export_card(bundle)}),
    }
    pictures = Pictures(reader.loader.dataset, network.heat_maps)
    return write_report(folder, evaluation, card, pictures, _history(network.weights))


def require_export(config: Config) -> None:
    """Raise ConfigError when there is no export in `Global.save_inference_dir` to measure; before the evaluation."""
    read_bundle(config.Global.save_inference_dir)


def _export_of(network: Network, config: Config, required: bool) -> Bundle | None:
    """Return the exported folder of `network`, None when there is none and it is not `required`."""
    folder = config.Global.save_inference_dir
    try:
        bundle = read_bundle(folder)
    except UserError:
        if required:
            raise
        return None
    if bundle.weights == network.checksum:
        return bundle
    if required:
        raise ConfigError(
            f"--latency: {folder} is an export of other weights; export these with tools/export_model.py, or name "
            "their folder by -o Global.save_inference_dir"
        )
    LOGGER.info("the report leaves out %s, which is an export of other weights", folder)
    return None


def _history(weights: str) -> list[dict[str, Any]]:
    try:
        return read_history(os.path.join(os.path.dirname(weights), FILE_NAME))
    except OSError:
        return []
