"""Trainings and their results in Python: `train`, and `Run`, its folder as an object.

Importing it imports no Paddle.
"""

from .run import Run
from .training import train

__all__ = ["Run", "train"]
