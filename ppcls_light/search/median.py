"""Median stopping rule of Golovin et al., "Google Vizier" (2017), by the best score so far."""

from __future__ import annotations

import statistics
from typing import Mapping, Sequence

STARTUP = 5  # complete trials before one can fall behind

Course = Mapping[int, float]  # {epochs done: the best score so far}


def falls_behind(own: Course, complete: Sequence[Course]) -> bool:
    """Return whether the trial of `own` is below the median of the `complete` ones after as many epochs."""
    if not own or len(complete) < STARTUP:
        return False
    epoch = max(own)
    scores = [course[epoch] for course in complete if epoch in course]
    return bool(scores) and own[epoch] < statistics.median(scores)
