"""CIFAR-10 (Krizhevsky, 2009) as PNG files in class folders."""

from __future__ import annotations

import os

import cv2
import numpy as np

from ..data.cifar import SIDE, read_cifar
from .archive import obtain, write_image

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10 = f"""\
CIFAR-10: 60,000 colour images of 32 x 32 pixels in 10 classes.
Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
{URL}
"""


def write_cifar10(folder: str) -> None:
    """Write train/CLASS/NUMBER.png and test/CLASS/NUMBER.png, numbered as in the authors' batches."""
    tarball = obtain(URL, os.path.basename(URL), 170, SHA256)
    for split in ("train", "test"):
        images, names = read_cifar(tarball, split, 10)
        for index, (pixels, label) in enumerate(zip(images.pixels, images.labels)):
            rgb = pixels.reshape(3, SIDE, SIDE).transpose(1, 2, 0)
            content = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1].tobytes()
            write_image(folder, f"{split}/{names[label]}/{index:05d}.png", content)
