"""LIME: a linear model of what covered superpixels do to the probability of a class; without Paddle.

Source: Ribeiro et al., arXiv 1602.04938, section 3, with the choices of the authors' package lime 0.2.0.1: each
superpixel is shown or has its mean colour, samples weigh exp(-D^2 / 0.25^2) to the half by their cosine distance D, and
the model is a ridge regression of penalty 1. That package itself has had no release since June 2020; the superpixels
here are those of scikit-image, 50 of SLIC, and the regression is numpy's.
"""

from __future__ import annotations

from typing import Callable, Iterator

import numpy as np

from ..errors import UserError

_SUPERPIXELS, _SAMPLES, _BATCH = 50, 1000, 32
_WIDTH, _PENALTY = 0.25, 1.0


def lime(
    probabilities: Callable[[np.ndarray], np.ndarray], images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return maps (N, H, W): what showing a superpixel adds to the probability of the class; 1,000 passes each.

    Raises UserError: scikit-image is not installed.
    """
    return np.stack([_map(probabilities, image, label) for image, label in zip(images, classes.tolist())])


def _map(probabilities: Callable[[np.ndarray], np.ndarray], image: np.ndarray, label: int) -> np.ndarray:
    segments = _superpixels(image)
    sizes = np.bincount(segments.ravel())
    means = [np.bincount(segments.ravel(), channel.ravel()) / sizes for channel in image]
    covered = np.stack(means)[:, segments].astype(np.float32)
    shown = np.random.default_rng(0).integers(0, 2, (_SAMPLES, len(sizes))).astype(bool)
    shown[0] = True

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, _SAMPLES, _BATCH):
            visible = shown[start : start + _BATCH][:, None, segments]
            yield probabilities(np.where(visible, image, covered))[:, label]

    return linear_effects(shown, np.concatenate(list(batches())))[segments].astype(np.float32)


def linear_effects(shown: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the effect of each superpixel on the `values` (N,) of samples with those `shown`, (N, S) of 0 and 1."""
    distance = 1 - np.sqrt(shown.mean(axis=1))  # cosine, from the sample that shows all
    weights = np.sqrt(np.exp(-(distance**2) / _WIDTH**2))
    centred = shown - np.average(shown, axis=0, weights=weights)
    target = values - np.average(values, weights=weights)
    weighted = weights[:, None] * centred
    return np.linalg.solve(weighted.T @ centred + _PENALTY * np.eye(shown.shape[1]), weighted.T @ target)


def _superpixels(image: np.ndarray) -> np.ndarray:
    """Return the superpixel (H, W), from 0 on, of each pixel of an image (C, H, W) whatever its values' range."""
    try:
        from skimage.segmentation import slic
    except ImportError:
        raise UserError('LIME needs scikit-image; pip install "ppcls_light[explain]"') from None
    low, high = image.min(), image.max()
    colours = (image - low) / max(high - low, 1e-12)
    # Smoothed, and twice the default compactness: noise would melt nearly all into one superpixel.
    segments = slic(colours.transpose(1, 2, 0), _SUPERPIXELS, compactness=20, sigma=1, start_label=0)
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)
