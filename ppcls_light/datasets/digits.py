"""Handwritten digits: the 1,797 scans of 8 x 8 pixels that scikit-learn has, too."""

from __future__ import annotations

import gzip
import os

import cv2
import numpy as np

from .archive import PACKAGED, write_image

TABLE = os.path.join(PACKAGED, "digits.csv.gz")  # a row: 64 grey values from 0 to 16, and the digit
WHITE, SIDE, LARGER = 16, 8, 32
DIGITS = """\
1,797 handwritten digits: the test images of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, 1998,
UCI Machine Learning Repository, https://doi.org/10.24432/C50P49. Scans of 8 x 8 pixels, here enlarged to 32 x 32.
Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/.
"""


def write_digits(folder: str) -> None:
    """Write train/DIGIT/NUMBER.png and test/DIGIT/NUMBER.png; every fifth scan is for testing."""
    with gzip.open(TABLE, "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, dtype=np.uint8, delimiter=",")
    for index, (*scan, digit) in enumerate(rows):
        grey = (np.array(scan).reshape(SIDE, SIDE) * (255 / WHITE)).astype(np.uint8)
        larger = cv2.resize(grey, (LARGER, LARGER), interpolation=cv2.INTER_CUBIC)
        split = "train" if index % 5 else "test"
        write_image(folder, f"{split}/{digit}/{index:04d}.png", cv2.imencode(".png", larger)[1].tobytes())
