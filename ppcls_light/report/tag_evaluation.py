"""`TagEvaluation`: answers of a network to images with tags, and all that is computed of them, each number once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Sequence

import numpy as np

from ..base.operating_points import OperatingPoints, Outcome, points_of_tags
from ..config.metrics import ATTRMetric, MultiLabelMAP
from ..data.image_list import ImageList
from ..engine.score_metrics import measured
from .evaluation import POINTS
from .label_errors import suspected_errors


class Mistakes(NamedTuple):
    """Answers about one tag each that are not its label, int64 (M,): the images and the tags."""

    images: np.ndarray
    tags: np.ndarray

    def of(self, tag: int) -> np.ndarray:
        """Return the images of the mistakes about a tag."""
        return self.images[self.tags == tag]


@dataclass(frozen=True, eq=False)
class TagEvaluation:
    """Answers to the N `images`, whose labels (N, K) are 1 for a tag that an image has, 0 for one that it has not.

    Labels of -1 are not known, and do not count. probabilities: float (N, K). thresholds: float (K,), from which an
    image is said to have the tag. tag_names: K of them; None: the tags' numbers. learned: the network was trained on
    these very images.
    """

    images: ImageList
    probabilities: np.ndarray
    thresholds: np.ndarray
    tag_names: Sequence[str] | None = None
    learned: bool = False

    @cached_property
    def names(self) -> list[str]:
        return list(self.tag_names or map(str, range(self.probabilities.shape[1])))

    @property
    def labels(self) -> np.ndarray:
        """int (N, K)."""
        return self.images.labels

    @cached_property
    def said(self) -> np.ndarray:
        """bool (N, K): the image is said to have the tag."""
        return self.probabilities >= self.thresholds.astype(self.probabilities.dtype)

    @cached_property
    def unknown(self) -> np.ndarray:
        """int64 (K,): numbers of images of which a tag is not known."""
        return (self.labels < 0).sum(axis=0)

    @cached_property
    def _points(self) -> list[OperatingPoints | None]:
        """The points of each tag; None of one that is known of no image."""
        return [
            points if points.positives or points.negatives else None
            for points in points_of_tags(self.labels, self.probabilities)
        ]

    @cached_property
    def curves(self) -> list[OperatingPoints | None]:
        """The points of each tag, up to `POINTS` of them."""
        return [points and points.thinned(POINTS) for points in self._points]

    @cached_property
    def average_precision(self) -> np.ndarray:
        """float64 (K,); NaN of a tag that no image has."""
        return np.array([np.nan if points is None else points.average_precision for points in self._points])

    @cached_property
    def auc(self) -> np.ndarray:
        """float64 (K,), areas under the ROC curves; NaN of a tag that no image has, or that all have."""
        return np.array([np.nan if points is None else points.auc for points in self._points])

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Outcome of each tag at its threshold."""
        has, lacks = self.labels == 1, self.labels == 0
        counts = (kind.sum(axis=0).tolist() for kind in (has, lacks, has & self.said, lacks & self.said))
        return [Outcome(*numbers) for numbers in zip(*counts)]

    @cached_property
    def cooccurrence(self) -> np.ndarray:
        """int64 (K, K): numbers of images that have both tags; on the diagonal those that have the tag."""
        has = (self.labels == 1).astype(np.int64)
        return has.T @ has

    @cached_property
    def mistakes(self) -> Mistakes:
        """Wrong answers, the surest first: tags that are missed by their probability, others by one less it."""
        wrong = (self.labels >= 0) & (self.said != (self.labels == 1))
        images, tags = np.nonzero(wrong)
        found = self.probabilities[images, tags]
        order = np.argsort(np.where(self.said[images, tags], -found, found - 1), kind="stable")
        return Mistakes(images[order], tags[order])

    @cached_property
    def suspects(self) -> Mistakes:
        """Labels of a tag that may be wrong, by confident learning of each tag alone; the most suspicious first.

        That of several labels is that of each of them (Thyagarajan et al., arXiv 2211.13895).
        """
        found = [self._suspects(tag) for tag in range(len(self.names))]
        tags = np.repeat(np.arange(len(found)), [len(images) for images, _ in found])
        images, margins = (np.concatenate(columns) for columns in zip(*found))
        order = np.argsort(margins, kind="stable")
        return Mistakes(images[order], tags[order])

    def _suspects(self, tag: int) -> tuple[np.ndarray, np.ndarray]:
        known = np.flatnonzero(self.labels[:, tag] >= 0)
        found = self.probabilities[known, tag]
        suspects = suspected_errors(
            self.labels[known, tag].astype(np.int64), np.stack([1 - found, found], axis=1)
        )
        return known[suspects.indices], suspects.margin

    @cached_property
    def summary(self) -> dict[str, float]:
        """Numbers of the whole: images, tags, mAP, F1 of all answers (micro), mean of the tags (macro), ATTRMetric's.

        ATTRMetric's are at its own threshold, 0.5, micro and macro at `thresholds`.
        """
        every = Outcome(*(sum(column) for column in zip(*self.outcomes)))
        shares = {
            name: [getattr(outcome, kind) for outcome in self.outcomes]
            for name, kind in (("precision", "precision"), ("recall", "tpr"), ("f1", "f1"))
        }
        return {
            "images": len(self.labels),
            "tags": len(self.names),
            **measured(MultiLabelMAP(), self.probabilities, self.labels),
            "micro_precision": every.precision,
            "micro_recall": every.tpr,
            "micro_f1": every.f1,
            **{f"macro_{name}": mean(values) for name, values in shares.items()},
            **measured(ATTRMetric(), self.probabilities, self.labels),
            "wrong_answers": len(self.mistakes.images),
            "suspected_label_errors": len(self.suspects.images),
        }


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Return the mean of those that are defined, NaN where none is."""
    defined = np.asarray(values, np.float64)
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if defined.size else float("nan")
