"""Plan of a training on photos: the largest of the measured networks for which enough epochs fit into the time."""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

from .recipe import Recipe

_ENOUGH = (
    0.5  # of the epochs that a recipe wants: with fewer, a smaller network or smaller pictures gain more
)


class Speed(NamedTuple):
    """Measured cost of a training: seconds of a photo that is learned, and of what follows each epoch."""

    network: str
    size: int  # pixels
    photo: float
    epoch_end: float

    def epoch(self, photos: int) -> float:
        """Return the seconds of an epoch of so many photos."""
        return photos * self.photo + self.epoch_end


class Plan(NamedTuple):
    """Network, size of its pictures in pixels, epochs (0: not one fits), and the seconds that they take."""

    network: str
    size: int
    epochs: int
    seconds: float
    enough: bool


def plan(recipe: Recipe, photos: int, speeds: Sequence[Speed], seconds: float) -> Plan:
    """Return the plan for a training on so many photos in at most `seconds`.

    Of the `speeds`, the best network first, it takes the first of which half of the recipe's epochs fit, or else the
    one of which the most do. It never plans more epochs than the recipe wants: further ones would only learn the
    photos by heart.
    """
    wanted = recipe.epochs(photos)
    plans = []
    for speed in speeds:
        one = speed.epoch(photos)
        epochs = min(wanted, max(0, math.floor(seconds / one)))
        plans.append(Plan(speed.network, speed.size, epochs, epochs * one, epochs >= _ENOUGH * wanted))
    enough = (each for each in plans if each.enough)
    return next(enough, None) or max(plans, key=lambda each: each.epochs)
