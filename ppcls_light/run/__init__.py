"""Trainings and their results in Python: `train` and `Run`, its folder as an object, and any model by its folder.

Importing it imports no Paddle.
"""

from .models import embed, explain, load, predict
from .run import Run
from .training import train

__all__ = ["Run", "embed", "explain", "load", "predict", "train"]
