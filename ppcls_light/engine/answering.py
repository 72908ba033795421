"""Kind of answer of a trained network: that of its config, with the threshold that was chosen for its weights."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from ..base.files import checksum
from ..base.hints import command
from ..bundle.chosen import Chosen, file_of, read_chosen
from ..config import Config
from ..config.postprocess import MultiLabelThreshOutput, PostProcess, ThreshOutput, Topk
from ..errors import ConfigError, WeightsError
from ..weights.io import weights_file
from .log import LOGGER


def answering(config: Config, weights: str) -> tuple[Config, Chosen | None]:
    """Return `config` with the threshold that was chosen for `weights` in `Infer.PostProcess`, and that threshold.

    `Topk` becomes a kind with a threshold. A threshold that the config gives counts instead, and one that was chosen
    for other weights does not: both are logged, and None is returned.

    Raises ConfigError: the file beside the weights is none of a threshold, or of the other kind of labels.
    """
    try:
        path = weights_file(weights)
    except WeightsError:  # by name or address
        return config, None
    chosen = read_chosen(file_of(path))
    if chosen is None:
        return config, None
    if chosen.weights != checksum(path):
        LOGGER.warning(
            "%s was chosen for other weights than %s, and is not used; choose anew: %s --choose-threshold %s",
            *(file_of(path), path, command("eval"), chosen.rule),
        )
        return config, None
    kind = with_threshold(config, chosen)
    if kind is None:
        return config, None
    LOGGER.info("answers by the threshold of %s (%s)", file_of(path), chosen.rule)
    answered = copy.copy(config)
    answered.Infer = dataclasses.replace(config.Infer, PostProcess=kind)
    return answered, chosen


def with_threshold(config: Config, chosen: Chosen) -> PostProcess | None:
    """Return the kind of answer of `config` with the chosen threshold; None, and a line in the log, if it has none.

    Raises ConfigError: the threshold is of the other kind of labels.
    """
    kind, where = config.postprocess, "Infer.PostProcess"
    threshold: Any = chosen.threshold
    if isinstance(threshold, list) != config.multilabel:
        raise ConfigError(
            f"the threshold that was chosen by {chosen.rule} is of {'one class' if config.multilabel else 'tags'}; "
            f"choose anew: {command('eval')} --choose-threshold {chosen.rule}"
        )
    if isinstance(kind, Topk):
        names = {key: getattr(kind, key) for key in ("class_id_map_file", "delimiter", "label_list")}
        of_kind = MultiLabelThreshOutput if config.multilabel else ThreshOutput
        return of_kind(threshold=threshold, **names)
    if not isinstance(kind, (ThreshOutput, MultiLabelThreshOutput)):
        taking = "MultiLabelThreshOutput" if config.multilabel else "ThreshOutput"
        LOGGER.info(
            "%s.name: %s does not take the threshold that was chosen by %s; %s does",
            *(where, kind.name, chosen.rule, taking),
        )
        return None
    if kind.threshold is None:
        return dataclasses.replace(kind, threshold=threshold)
    if kind.threshold != chosen.threshold:
        LOGGER.info(
            "%s %s counts, not %s, which %s chose; for the latter: -o %s.threshold=null",
            *(config.place(f"{where}.threshold"), kind.threshold, chosen.threshold, chosen.rule, where),
        )
    return None


def threshold_in_use(config: Config) -> float | list[float] | None:
    """Return the threshold of a config: of class 1 of two, or of the tags; None where the best class is the answer."""
    of_more = config.Arch.class_num != 2 and not config.multilabel
    return None if of_more else getattr(config.postprocess, "limit", None)
