"""Optimizers, their learning rate over the steps, and their state."""

from .build import build_optimizer
from .schedule import Schedule, build_schedule
from .state import load_optimizer_state, optimizer_state

__all__ = ["Schedule", "build_optimizer", "build_schedule", "load_optimizer_state", "optimizer_state"]
