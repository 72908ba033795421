"""Choice of a threshold by a rule on DataLoader.Eval: of class 1 of two, or of each tag."""

from __future__ import annotations

import math
import os
from typing import Sequence

import numpy as np

from ..base.files import checksum, require_writable
from ..base.operating_points import (
    OperatingPoints,
    Outcome,
    Rule,
    operating_points,
    points_of_tags,
    read_rule,
)
from ..base.probabilities import probabilities
from ..bundle.chosen import Chosen, file_of, measured, write_chosen
from ..bundle.folder import CONFIG_FILE, read_bundle
from ..bundle.metadata import put_threshold
from ..config import Config
from ..errors import ConfigError, DataError, UserError, WeightsError, listed
from ..export.web.page import refresh_page
from ..weights.io import weights_file
from .answering import answering
from .distributed import Runtime
from .log import LOGGER
from .readers import Reader

OPTION = "--choose-threshold"


class Choice:
    """Choice by the rule `text`, to be made when the network with `weights` has been evaluated.

    Raises ConfigError: no rule; more than two classes, of which the best is the answer; or weights that are no file.
    UserError: no file can be written beside them.
    """

    def __init__(self, text: str, config: Config, weights: str) -> None:
        self._rule, class_num = read_rule(text), config.Arch.class_num
        if class_num != 2 and not config.multilabel:
            raise ConfigError(
                f"{OPTION}: a threshold tells two classes apart, or says which tags an image has; of {class_num} "
                "classes the most probable one is the answer (Global.unknown says of which images it is none)"
            )
        try:
            self._weights = weights_file(weights)
        except WeightsError:
            raise ConfigError(
                f"{OPTION}: the threshold is kept beside the weights, and {weights} is no file; name one by "
                "-o Global.pretrained_model=FILE"
            ) from None
        self._file = file_of(self._weights)
        require_writable(self._file)
        self._config = config

    def make(self, reader: Reader, logits: np.ndarray, digest: str, runtime: Runtime) -> Config:
        """Choose by the `logits` (N, K) of the images of `reader`, and return the config that answers so.

        The threshold goes into the file beside the weights, and into the export of these weights, whose checksum is
        `digest`, where there is one in `Global.save_inference_dir`.

        Raises DataError: see `choose_threshold`.
        """
        names = reader.class_names or [f"class {number}" for number in range(logits.shape[1])]
        scores = probabilities(logits, self._config.multilabel)
        chosen = choose_threshold(
            self._rule, scores, reader.images.labels, list(names), checksum(self._weights)
        )
        if runtime.is_main:
            write_chosen(self._file, chosen)
            LOGGER.info("threshold in %s", self._file)
        config, used = answering(self._config, self._weights) if runtime.is_main else (self._config, None)
        if used is not None:
            _put_into_export(config, used, digest)
        return config


def _put_into_export(config: Config, chosen: Chosen, digest: str) -> None:
    folder = config.Global.save_inference_dir
    try:
        bundle = read_bundle(folder)
    except UserError:  # nothing is exported yet, or nothing that can be used
        return
    if bundle.weights == digest:
        put_threshold(folder, config.postprocess, chosen)
        refresh_page(folder)
        LOGGER.info("threshold in %s, the export of these weights, too", os.path.join(folder, CONFIG_FILE))
    else:
        LOGGER.info("%s is an export of other weights, and keeps its answers", folder)


def choose_threshold(
    rule: Rule, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], weights: str
) -> Chosen:
    """Return the threshold that `rule` chooses, and log its outcome.

    `probabilities` are float (N, K) of K tags, with `labels` int (N, K), -1 where it is not known whether an image has
    the tag; or (N, 2) of two classes, with `labels` (N,). `names` are those of the tags or classes, `weights` the
    checksum of their file.

    Raises DataError: a side has no image, too few negative ones for such a rate, or no threshold keeps the rule.
    """
    sides = sides_of(probabilities, labels)
    sides_named = [names[1]] if labels.ndim == 1 else list(names)
    empty = [
        f"{name} ({points.positives} with, {points.negatives} without)"
        for name, points in zip(sides_named, sides)
        if not (points.positives and points.negatives)
    ]
    if empty:
        raise DataError(
            f"{OPTION}: DataLoader.Eval needs images with and without {listed(empty, 5)}; add some to its list"
        )
    thresholds, found = [], []
    for name, points in zip(sides_named, sides):
        threshold, outcome = _chosen(rule, points, name)
        thresholds.append(threshold)
        found.append(measured(outcome))
        LOGGER.info("threshold of %s by %s: %.6g: %s", name, rule, threshold, described(outcome))
    return Chosen(str(rule), thresholds[0] if labels.ndim == 1 else thresholds, found, weights)


def sides_of(probabilities: np.ndarray, labels: np.ndarray) -> list[OperatingPoints]:
    """Return the points of class 1, or of each tag; arguments as in `choose_threshold`."""
    if labels.ndim == 1:
        return [operating_points(labels == 1, probabilities[:, 1])]
    return points_of_tags(labels, probabilities)


def _chosen(rule: Rule, points: OperatingPoints, name: str) -> tuple[float, Outcome]:
    if rule.kind == "tpr@fpr" and 0 < rule.limit * points.negatives < 1:
        raise DataError(
            f"{OPTION} {rule}: of {points.negatives} negative images of {name} that is none: such a rate needs "
            f"{math.ceil(1 / rule.limit):,} or more; add some to DataLoader.Eval, or ask for tpr@fpr=0 or "
            f"tpr@fpr={1 / points.negatives:.2g}"
        )
    place = rule.place(points)
    if not place:
        first = points.fpr[points.hits > 0].min()
        reason = (
            f"the highest precision is {np.nanmax(points.precision):.3g}"
            if rule.kind == "precision"
            else f"the first positive image comes with a false positive rate of {first:.3g}"
        )
        raise DataError(
            f"{OPTION} {rule}: no threshold of {name} keeps it on DataLoader.Eval: {reason}; give another limit, or "
            "train on"
        )
    threshold = points.threshold(place)
    return threshold, points.outcome(threshold)


def described(outcome: Outcome) -> str:
    """Return an outcome in words."""
    percent = {name: f"{100 * getattr(outcome, name):.2f} %" for name in ("tpr", "fpr", "precision", "f1")}
    return (
        f"finds {outcome.hits} of {outcome.positives} positive images (tpr, recall {percent['tpr']}) and takes "
        f"{outcome.false_alarms} of {outcome.negatives} negative ones for positive (fpr {percent['fpr']}); precision "
        f"{percent['precision']}, F1 {percent['f1']}"
    )
