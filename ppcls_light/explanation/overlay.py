"""Pictures of heat maps: a map enlarged, brought to [0, 1], coloured, and laid over its image; without Paddle."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Viridis (matplotlib, CC0) at 0, 1/8, ..., 1: brightness rises evenly, in grey and to the colour-blind, too.
VIRIDIS = (
    *((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142)),
    *((33, 144, 141), (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37)),
)


def enlarged(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a map (h, w) as float32 (height, width), bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def finished(maps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return maps (N, h, w) at the size of `images` (N, C, H, W), float32 (N, H, W), each its `positive_share`."""
    return np.stack([positive_share(enlarged(heat, *images.shape[2:])) for heat in maps])


def positive_share(heat: np.ndarray) -> np.ndarray:
    """Return what speaks for the class, as float32 in [0, 1]: `heat` without its negative values, over its maximum.

    A map without positive values gives zeros.
    """
    positive = np.maximum(heat, 0).astype(np.float32)
    highest = positive.max()
    return positive / highest if highest > 0 else positive


def coloured(heat: np.ndarray) -> np.ndarray:
    """Return a map (H, W) in [0, 1] as an RGB picture, uint8 (H, W, 3): dark violet is 0, yellow is 1."""
    steps = np.linspace(0, 1, len(VIRIDIS))
    channels = [np.interp(heat, steps, values) for values in zip(*VIRIDIS)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(image: np.ndarray, heat: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """Return an RGB picture, uint8 (H, W, 3), of `image`, uint8 (H, W, 3), under its map (h, w) in [0, 1].

    The image turns grey, so that colours are the map's alone. `strength` is the share of the map in the mixture.
    """
    height, width = image.shape[:2]
    grey = image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    colours = coloured(np.clip(enlarged(heat, height, width), 0, 1))
    mixed = (1 - strength) * grey[:, :, None] + strength * colours
    return mixed.round().astype(np.uint8)
