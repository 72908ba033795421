"""Fit of the section `unknown` of an export: temperature and thresholds, on labelled images of its evaluation.

All that is fitted stays in the folder with what it was measured to do. Numbers that the fit would flatter, calibration
error and coverage, are measured on one half of the images with a fit on the other.
"""

from __future__ import annotations

import logging
import math
import os
from typing import Any, Dict, NamedTuple, Optional, Sequence

import numpy as np

from ..base.probabilities import reliability
from ..bundle.folder import UNKNOWN_FILE
from ..config.values import UnknownScore
from ..errors import DataError
from ..prediction.neighbours import Index
from ..prediction.unknown import NEIGHBOUR, at_temperature, is_known, score
from .verify import served_probs

logger = logging.getLogger(__name__)

MOST = 5000  # images of either kind
FEWEST = 20
_COLDEST, _HOTTEST = 0.2, 20.0  # temperatures


class UnknownFit(NamedTuple):
    """Wishes for the section `unknown`, and the images to fit it on.

    Attributes:
        score: "energy" or "distance".
        coverage: share of the images of the evaluation that stay known.
        by_class: a threshold for each class that has images enough, instead of one.
        paths, labels: images of the evaluation, and int (N,).
        training: images that `distance` is to.
    """

    score: UnknownScore
    coverage: float
    by_class: bool
    paths: Sequence[str]
    labels: np.ndarray
    training: Sequence[str] = ()


def fit_unknown(folder: str, wanted: UnknownFit, weights: str = "") -> Dict[str, Any]:
    """Return the section `unknown` of the export in `folder`, whose graph has the output of the score.

    `distance` writes `UNKNOWN_FILE`, which tells the checksum `weights` of the network.

    Raises DataError: too few images, or one cannot be read. ExportError: the folder cannot be run.
    """
    paths, labels = drawn(wanted.paths, wanted.labels)
    logger.info("unknown: fitted on %d images of the evaluation", len(paths))
    answers = served_probs(folder, paths)
    reference = None
    if wanted.score == "distance":
        reference = _reference(folder, wanted.training, weights)
    probs, scores = answers["probs"], score(answers, reference)
    finite = np.isfinite(probs).all(axis=1) & np.isfinite(scores)
    probs, scores, labels = probs[finite], scores[finite], labels[finite]
    if len(labels) < FEWEST:
        raise DataError(
            f"Global.unknown: {len(labels)} images of DataLoader.Eval are too few to fit it on; give {FEWEST} or more"
        )
    section = {
        "score": wanted.score,
        "temperature": temperature(probs, labels),
        "thresholds": thresholds(scores, probs, wanted.coverage, wanted.by_class),
        "coverage": wanted.coverage,
        "measured": measured(probs, scores, labels, wanted),
    }
    _log(section)
    return section


def drawn(paths: Sequence[str], labels: Optional[np.ndarray] = None) -> tuple[list[str], np.ndarray]:
    """Return at most `MOST` of `paths`, drawn at random with a fixed seed, in their order, and their labels."""
    places = np.sort(np.random.default_rng(0).permutation(len(paths))[:MOST])
    return [paths[place] for place in places], np.empty(0, int) if labels is None else labels[places]


def _reference(folder: str, training: Sequence[str], weights: str) -> Index:
    paths, _ = drawn(training)
    if len(paths) < NEIGHBOUR:
        raise DataError(
            f"Global.unknown: distance is to images of DataLoader.Train, of which {len(paths)} are here; give more, or "
            "take energy"
        )
    logger.info("unknown: distance to %d images of the training", len(paths))
    embeddings = served_probs(folder, paths)["embedding"]
    # The names of the photos are nobody's business where the network is deployed.
    reference = Index(embeddings, [str(place) for place in range(len(embeddings))], "", weights)
    reference.write(os.path.join(folder, UNKNOWN_FILE))
    return reference


def temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of least log loss of the labels (N,) under probabilities (N, K), from 0.2 to 20.

    The loss is convex in 1 / temperature: bisection finds where its derivative, the mean of the expected logit less
    that of the label, is zero.
    """
    logits = np.log(np.maximum(probs, 1e-30, dtype=np.float64))
    right = logits[np.arange(len(labels)), labels]
    cold, hot = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(50):
        middle = (cold + hot) / 2
        expected = (at_temperature(probs, math.exp(middle)) * logits).sum(axis=1)
        if (expected - right).mean() > 0:  # too cold: the answers are surer than right
            cold = middle
        else:
            hot = middle
    return float(f"{math.exp((cold + hot) / 2):.5g}")


def thresholds(scores: np.ndarray, probs: np.ndarray, coverage: float, by_class: bool) -> list[float]:
    """Return the least scores up to which a share `coverage` of the images is known: one, or one for each class.

    A class counts the images of which it is the best; one of so few that none could stay out has the common threshold.
    """
    common = float(np.quantile(scores, coverage, method="inverted_cdf"))
    if not by_class:
        return [common]
    best, least = probs.argmax(axis=1), 1 / (1 - coverage)
    own = (scores[best == label] for label in range(probs.shape[1]))
    return [
        float(np.quantile(some, coverage, method="inverted_cdf")) if len(some) >= least else common
        for some in own
    ]


def measured(probs: np.ndarray, scores: np.ndarray, labels: np.ndarray, wanted: UnknownFit) -> Dict[str, Any]:
    """Return what the fit does: images, ECE before and after, share that is known, top-1 of all and of those."""
    half = np.random.default_rng(0).permutation(len(labels)) % 2 == 0
    calibrated, known = np.empty_like(probs), np.empty(len(labels), bool)
    for part in (half, ~half):
        calibrated[part] = at_temperature(probs[part], temperature(probs[~part], labels[~part]))
        limits = thresholds(scores[~part], probs[~part], wanted.coverage, wanted.by_class)
        known[part] = is_known(scores[part], probs[part], limits)
    right = probs.argmax(axis=1) == labels
    before, after = (reliability(some.max(axis=1), right).ece for some in (probs, calibrated))
    numbers = {
        "ece_before": before,
        "ece_after": after,
        "known": known.mean(),
        "top1": right.mean(),
        "top1_of_known": right[known].mean() if known.any() else 0.0,
    }
    return {"images": len(labels), **{name: round(float(value), 5) for name, value in numbers.items()}}


def _log(section: Dict[str, Any]) -> None:
    found = section["measured"]
    logger.info(
        "unknown: temperature %.4g; expected calibration error %.2f %% before, %.2f %% after on %d images",
        *(section["temperature"], 100 * found["ece_before"], 100 * found["ece_after"], found["images"]),
    )
    logger.info(
        "unknown by %s: %.1f %% of them stay known (%.1f %% asked for); top-1 %.2f %% of these, %.2f %% of all",
        *(section["score"], 100 * found["known"], 100 * section["coverage"]),
        *(100 * found["top1_of_known"], 100 * found["top1"]),
    )
    if section["temperature"] in (_COLDEST, _HOTTEST):
        logger.warning(
            "unknown: the temperature is at the end of its range, %g to %g: the images of the evaluation are too easy, "
            "or the labels are not theirs",
            *(_COLDEST, _HOTTEST),
        )
