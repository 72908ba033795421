"""`Evaluation`: answers of a network to labelled images, and all that is computed of them, each number once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Sequence

import numpy as np

from ..base.operating_points import OperatingPoints, operating_points
from ..base.probabilities import Reliability, reliability
from ..data.image_list import ImageList
from .classes import ClassScores, class_scores, confusion_matrix
from .label_errors import Suspects, suspected_errors
from .thresholds import Coverage, TwoClasses, at_accuracy, coverage_curve

THRESHOLDS = np.linspace(0, 1, 101)
ACCURACIES = (0.9, 0.95, 0.99)  # for which a threshold is looked for
POINTS = 100  # of a precision-recall curve that are kept: of 1,000 classes and 50,000 images all would take a gigabyte


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Answers to the N `images`, which have a label each.

    probabilities: float (N, K). predicted: int (N,), the classes they are taken for. class_names: K of them; None: the
    labels' numbers. learned: the network was trained on these very images. threshold: of two classes, the probability
    of class 1 from which an image was taken for it.
    """

    images: ImageList
    probabilities: np.ndarray
    predicted: np.ndarray
    class_names: Sequence[str] | None = None
    learned: bool = False
    threshold: float = 0.5

    @cached_property
    def names(self) -> list[str]:
        """A name for each of the K classes."""
        return list(self.class_names or map(str, range(self.class_num)))

    @property
    def class_num(self) -> int:
        return self.probabilities.shape[1]

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,)."""
        return self.images.labels

    @cached_property
    def right(self) -> np.ndarray:
        """bool (N,): the image is taken for what its label says."""
        return self.predicted == self.labels

    @cached_property
    def confidence(self) -> np.ndarray:
        """float64 (N,): the probability of the class that the image is taken for."""
        return self.probabilities[np.arange(len(self.labels)), self.predicted].astype(np.float64)

    @cached_property
    def mistakes(self) -> np.ndarray:
        """int64: indices of the images that are taken for another class, the surest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 (K, K), see `confusion_matrix`."""
        return confusion_matrix(self.labels, self.predicted, self.class_num)

    @cached_property
    def scores(self) -> ClassScores:
        return class_scores(self.confusion)

    @cached_property
    def reliability(self) -> Reliability:
        return reliability(self.confidence, self.right)

    @cached_property
    def coverage(self) -> Coverage:
        """Coverage and accuracy at the `THRESHOLDS`."""
        return coverage_curve(self.confidence, self.right, THRESHOLDS)

    @cached_property
    def thresholds(self) -> list[tuple[float, float, float]]:
        """(accuracy, threshold, coverage) for each of the `ACCURACIES`, see `at_accuracy`."""
        return [(goal, *at_accuracy(self.confidence, self.right, goal)) for goal in ACCURACIES]

    @cached_property
    def _curves(self) -> list[tuple[OperatingPoints, float]]:
        full = (
            operating_points(self.labels == label, self.probabilities[:, label])
            for label in range(self.class_num)
        )
        return [(curve.thinned(POINTS), curve.average_precision) for curve in full]

    @property
    def curves(self) -> list[OperatingPoints]:
        """Precision and recall of each class against all others, by its probability, at up to `POINTS` scores."""
        return [curve for curve, _ in self._curves]

    @property
    def average_precision(self) -> np.ndarray:
        """float64 (K,), of every score; NaN for a class without images."""
        return np.array([average for _, average in self._curves])

    @cached_property
    def two_classes(self) -> TwoClasses | None:
        """Class 1 of two; None of more, or where either has no image."""
        if self.class_num != 2 or len(set(self.labels.tolist())) < 2:
            return None
        points = operating_points(self.labels == 1, self.probabilities[:, 1])
        return TwoClasses(self.names[1], points, self.threshold)

    @cached_property
    def suspects(self) -> Suspects:
        """Images whose labels may be wrong."""
        return suspected_errors(self.labels, self.probabilities)

    @cached_property
    def summary(self) -> dict[str, float]:
        """Numbers of the whole: images, accuracy, means over the classes (macro), calibration error, suspected labels;
        of two classes also area under the ROC curve, threshold and its rates.

        Means are over the classes that have a number, see `ClassScores.macro`.
        """
        return {
            "images": len(self.labels),
            "accuracy": float(self.right.mean()),
            **{f"macro_{name}": value for name, value in self.scores.macro.items()},
            "macro_average_precision": float(np.nanmean(self.average_precision)),
            "expected_calibration_error": self.reliability.ece,
            "maximum_calibration_error": self.reliability.mce,
            "suspected_label_errors": len(self.suspects.indices),
            **({} if self.two_classes is None else self.two_classes.summary),
        }
