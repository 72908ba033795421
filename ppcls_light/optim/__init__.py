"""Optimizers, their learning rate over the steps, and their state."""

from .build import build_optimizer
from .ema import ExponentialMovingAverage
from .schedule import Schedule, build_schedule
from .state import load_optimizer_state, optimizer_state

__all__ = [
    "ExponentialMovingAverage",
    "Schedule",
    "build_optimizer",
    "build_schedule",
    "load_optimizer_state",
    "optimizer_state",
]
