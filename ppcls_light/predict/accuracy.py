"""Top-1 of a network in another precision, on images that had no part in making it."""

import os
from typing import NamedTuple

import numpy as np

from ..data.image_list import ImageList
from ..errors import ConfigError, DataError

CALIBRATION_IMAGES = 256
MAX_DROP = 1.0
FEWEST = 16  # with less, one image is more than six percentage points


class Top1Change(NamedTuple):
    """Top-1 of one network in two precisions, in percent, on the same `images` images."""

    images: int
    fp32: float
    other: float

    @property
    def change(self):
        """Percentage points; negative when the other precision is worse."""
        return self.other - self.fp32

    def refusal(self, max_drop):
        """Return why a network that may lose `max_drop` percentage points is not taken, "" when it is."""
        # Half an image's worth of rounding must not decide.
        if -self.change <= max_drop + 1e-9:
            return ""
        return f"loses {-self.change:.2f} percentage points of top-1, more than the {max_drop:g} allowed (--max-drop)"

    def __str__(self):
        return (
            f"top-1 {self.other:.2f} % ({self.change:+.2f} percentage points; {self.fp32:.2f} % in fp32) "
            f"on {self.images} images"
        )


def top1_change(labels, fp32_answers, other_answers) -> Top1Change:
    """Compare the best classes of two precisions with the labels.

    Args:
        labels: (N,) ints.
        fp32_answers, other_answers: (N, class_num) probabilities or logits. An answer with NaN is wrong.
    """
    return Top1Change(len(labels), _top1(labels, fp32_answers), _top1(labels, other_answers))


def check_max_drop(points):
    """Return `points` if a drop can be bounded by it.

    Raises:
        ConfigError: it is no number from 0 on.
    """
    if not 0 <= points <= 100:  # false for NaN, too
        raise ConfigError(f"--max-drop: {points:g}: percentage points of top-1 are 0 to 100; for example 0.5")
    return points


def _top1(labels, answers):
    right = (np.argmax(answers, axis=1) == labels) & ~np.isnan(answers).any(axis=1)
    return float(100 * np.mean(right))


class Labelled(NamedTuple):
    """Labelled images, parted: those that calibrate int8 (paths) and those that score (paths, labels (N,))."""

    calibration: list
    scored: list
    labels: np.ndarray


def part(images: ImageList, count=CALIBRATION_IMAGES, calibration: ImageList = None) -> Labelled:
    """Draw images to calibrate with, and leave the others to be scored on: no image does both.

    The draw is random with a fixed seed, since lists are often sorted by class.

    Args:
        images: labelled, to be scored on.
        count: how many calibrate, at most; at most half of `images` when they come out of these.
        calibration: where to draw from; None: `images` themselves.

    Raises:
        DataError: less than 16 images are left for one of the two.
    """
    source = images if calibration is None else calibration
    count = min(count, len(source) // 2 if calibration is None else len(source))
    drawn = np.sort(np.random.default_rng(0).permutation(len(source))[:count])
    chosen = [source.path(int(index)) for index in drawn]
    taken = {os.path.realpath(path) for path in chosen}
    rest = [index for index in range(len(images)) if os.path.realpath(images.path(index)) not in taken]
    if min(len(chosen), len(rest)) < FEWEST:
        raise DataError(
            f"{len(chosen)} images to calibrate int8 with and {len(rest)} others to score are too few; give "
            f"labelled images of which {FEWEST} are left for each"
        )
    return Labelled(chosen, [images.path(index) for index in rest], images.labels[rest])
