"""Optimizers, their learning rate over the steps, and their state."""

from .ema import ExponentialMovingAverage
from .factors import set_factors
from .optimizer import build_optimizer
from .schedule import Schedule, build_schedule
from .state import load_optimizer_state, optimizer_state

__all__ = [
    "ExponentialMovingAverage",
    "Schedule",
    "build_optimizer",
    "build_schedule",
    "load_optimizer_state",
    "optimizer_state",
    "set_factors",
]
