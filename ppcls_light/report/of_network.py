"""Report of a network's evaluation: what the job has at hand, put together for `folder.write_report`."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, NamedTuple, Sequence, cast

import numpy as np

from ..base.figures import check_matplotlib
from ..base.hints import command
from ..base.probabilities import probabilities
from ..bundle.folder import Bundle, read_bundle
from ..config import Config
from ..data.scan import find_images
from ..engine.embed_files import Embedded
from ..engine.evaluate import scores_learned
from ..engine.history import FILE_NAME, read_history
from ..engine.log import LOGGER
from ..engine.readers import Reader, listed_files
from ..errors import ConfigError, DataError, UserError
from ..models.profile import ModelProfile
from ..runtime.auto import resolve
from ..runtime.options import EngineOptions
from .card import data_card, export_card, model_card, tag_data_card
from .evaluation import Evaluation
from .folder import write_report
from .label_next import LABEL_COUNT, Candidates, NextToLabel
from .pictures import HeatMaps, Pictures
from .tag_evaluation import TagEvaluation
from .tag_folder import write_tag_report


class Network(NamedTuple):
    """Facts of the network that a report is about.

    weights: the file, address or name that they came from. checksum: of `export.weights_checksum`.
    """

    weights: str
    checksum: str
    profile: ModelProfile
    heat_maps: HeatMaps
    embed: Callable[[list[str]], Iterator[Embedded]]  # of image files


class Extras(NamedTuple):
    """Parts of a report that cost time, and are made on request.

    latency: the export's engines are measured. label_next: folder of images without labels, of which `label_count`
    (None: 100) are shown to be labelled next.
    """

    latency: bool = False
    label_next: str | None = None
    label_count: int | None = None

    def check(self, config: Config, report: str | None) -> None:
        """Raise UserError, before the evaluation, when a part contradicts another or cannot be made."""
        if report:
            check_matplotlib("--report")
        elif self.latency or self.label_next:
            option = "latency" if self.latency else "label-next"
            raise ConfigError(f"--{option} is shown in the report; add --report DIR")
        if self.latency:
            read_bundle(config.Global.save_inference_dir)
        if self.label_next and config.multilabel:
            raise ConfigError(
                "--label-next: it looks for doubt between two classes, and an image has tags; leave it out"
            )
        if self.label_next and config.Arch.class_num < 2:
            raise ConfigError("--label-next: with one class there is no doubt; leave it out")
        if self.label_next and not os.path.isdir(self.label_next):
            raise ConfigError(
                f"--label-next: {self.label_next} is not a folder; give one of images without labels"
            )
        if self.label_count is not None and not (self.label_next and self.label_count > 0):
            raise ConfigError(
                f"--label-count {self.label_count}: a number, 1 or more, of images of --label-next FOLDER"
            )


class Report:
    """Report of `network` to be written into `folder` when it has been evaluated.

    Learning curves are those of the metrics.jsonl beside the weights, and the export is that in
    `Global.save_inference_dir` if it is of this network.

    Raises ConfigError: latency is wanted, and there is no export of this network. DataError: the folder of images to
    label has none beside those in the lists of the config.
    """

    def __init__(self, folder: str, config: Config, network: Network, extras: Extras) -> None:
        self._folder, self._config, self._network, self._extras = folder, config, network, extras
        self._bundle = _export_of(network, config, extras.latency)
        self._unlabelled = _unlisted(extras.label_next, config) if extras.label_next else []

    def write(
        self, reader: Reader, logits: np.ndarray, threshold: float | Sequence[float] | None = None
    ) -> dict[str, float]:
        """Write the report for the images of `reader`, whose `logits` are (N, K); return the summary.

        `threshold` is that of class 1 of two classes, or of all tags or of each (K,); None: 0.5.

        Raises UserError: a file cannot be written. DataError: no image to label could be read.
        """
        config, network, bundle = self._config, self._network, self._bundle
        names = None if reader.class_names is None else reader.class_names.names
        scores, learned = probabilities(logits, config.multilabel), scores_learned(config)
        if bundle is not None and self._extras.latency:
            resolve(bundle, EngineOptions(engine="auto", batch_size=1), config.Global.image_shape)
        cards = {
            "model": model_card(config, network.weights, network.profile),
            **({} if bundle is None else {"export": export_card(bundle)}),
        }
        pictures = Pictures(reader.loader.dataset, network.heat_maps)
        history = _history(network.weights)
        if config.multilabel:
            thresholds = np.broadcast_to(0.5 if threshold is None else threshold, logits.shape[1:])
            tagged = TagEvaluation(reader.images, scores, thresholds, names, learned)
            return write_tag_report(
                self._folder, tagged, {"data": tag_data_card(tagged), **cards}, pictures, history
            )
        predicted = logits.argmax(axis=1) if threshold is None else (scores[:, 1] >= threshold).astype(int)
        in_use = 0.5 if threshold is None else cast(float, threshold)
        evaluation = Evaluation(reader.images, scores, predicted, names, learned, in_use)
        card = {"data": data_card(evaluation), **cards}
        return write_report(self._folder, evaluation, card, pictures, history, self._to_label())

    def _to_label(self) -> NextToLabel | None:
        if not self._unlabelled:
            return None
        candidates = Candidates(self._extras.label_count or LABEL_COUNT)
        for batch in self._network.embed(self._unlabelled):
            candidates.add(*batch)
        return candidates.chosen()


def _unlisted(folder: str, config: Config) -> list[str]:
    """Return the images in `folder` that are in no list of the config."""
    listed = listed_files(config)
    paths = [path for path in find_images(folder) if os.path.abspath(path) not in listed]
    if not paths:
        raise DataError(f"--label-next: {folder}: all of its images are in the lists; give others")
    return paths


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
            f"--latency: {folder} is an export of other weights; export these with {command('export')}, or name "
            "their folder by -o Global.save_inference_dir"
        )
    LOGGER.info("the report leaves out %s, which is an export of other weights", folder)
    return None


def _history(weights: str) -> list[dict[str, Any]]:
    try:
        return read_history(os.path.join(os.path.dirname(weights), FILE_NAME))
    except OSError:
        return []
