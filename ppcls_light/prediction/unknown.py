"""Scores by which an image is of no class, and calibrated probabilities; numpy alone.

Temperature scaling: Guo et al., arXiv 1706.04599, section 4.2. Energy: Liu et al., arXiv 2010.03759, equation 4.
Distance to the nearest embeddings of the training: Sun et al., arXiv 2204.06507, algorithm 1, by the cosine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..base.probabilities import softmax
from ..bundle.folder import CONFIG_FILE, UNKNOWN_FILE, Bundle, Further, Unknown
from ..config.values import UnknownScore
from ..errors import ConfigError, WeightsError
from ..runtime.options import EngineOptions
from .neighbours import Index

OUTPUT_OF: dict[UnknownScore, Further] = {"energy": "logits", "distance": "embedding"}
NEIGHBOUR = 5  # the one whose distance counts, at most: a nearer one may be a freak of the training
_LEAST = 1e-30  # probability, so that its logarithm is finite


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax of logits / `temperature` of which `probabilities` (N, K) are the softmax, float64.

    The order of the classes stays: in float32 cold ones would all become 0. Rows that are no numbers stay so.
    """
    return softmax(np.log(np.maximum(probabilities, _LEAST, dtype=np.float64)) / temperature)


def energy(logits: np.ndarray) -> np.ndarray:
    """Return -log(sum of exp(logits)) (N,) of logits (N, K): the larger, the less the network knows the image."""
    largest = logits.max(axis=1)
    return -(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)))


def distance(reference: Index, embeddings: np.ndarray, class_num: int) -> np.ndarray:
    """Return 1 - cosine (N,) of embeddings (N, D) and the fifth nearest of `reference`, images of `class_num` classes.

    Of fewer than ten images per class it is a nearer one, of the first half of a class, so that it is of the same.
    """
    place = max(1, min(NEIGHBOUR, len(reference.names) // (2 * class_num)))
    return 1 - reference.search(embeddings, place)[1][:, -1]


class Doubt:
    """Calibration and unknown images of a bundle with the section `unknown`.

    Raises ConfigError: the section and the graph or the classes do not go together. DataError, WeightsError: its file
    is missing, damaged or of another export.
    """

    def __init__(self, bundle: Bundle, section: Unknown) -> None:
        self._section, self._folder, self._own = section, bundle.folder, bundle.precision
        self.output = OUTPUT_OF[section.score]
        if self.output not in bundle.further or len(section.thresholds) not in (1, bundle.class_num):
            raise ConfigError(
                f"{bundle.folder}: the section unknown of {CONFIG_FILE} is not of this graph, which has no "
                f"{self.output} or other classes; export the model again"
            )
        self._reference = None
        if section.score == "distance":
            path = os.path.join(bundle.folder, UNKNOWN_FILE)
            if not os.path.isfile(path):
                raise WeightsError(
                    f"{path}: no such file, though the section unknown of {CONFIG_FILE} needs it; copy the whole "
                    "folder again, or export the model anew"
                )
            bundle.verify_checksums(path)
            self._reference = Index.read(path)

    def in_precision(self, options: EngineOptions) -> EngineOptions:
        """Return `options` in the precision that the thresholds were fitted in, fp32, or int8 where the graph is that.

        Another one moves the scores by more than neighbours of a threshold differ. Raises ConfigError: it is asked for.
        """
        if options.precision == "auto":
            return replace(options, precision="fp32")
        if options.precision not in ("fp32", self._own):
            raise ConfigError(
                f"{self._folder}: precision {options.precision}: its thresholds of unknown images were fitted in "
                "fp32; use precision fp32, or export without Global.unknown"
            )
        return options

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Return `probabilities` (N, K) at the temperature."""
        return at_temperature(probabilities, self._section.temperature)

    def of(self, answers: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return (unknown, scores), bool and float (N,), of the answers to N images, as of `Predictor.run_all`."""
        scores = score(answers, self._reference)
        return ~is_known(scores, answers["probs"], self._section.thresholds), scores


def is_known(scores: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Return bool (N,): a score is within the one threshold, or that of the best class. False for NaN."""
    limits = np.asarray(thresholds)
    return scores <= limits[probabilities.argmax(axis=1) if len(limits) > 1 else 0]


def score(answers: Mapping[str, np.ndarray], reference: Index | None) -> np.ndarray:
    """Return the scores (N,) of answers by name: by distance to the `reference`, or without one by energy."""
    if reference is None:
        return energy(answers["logits"])
    return distance(reference, answers["embedding"], answers["probs"].shape[1])
